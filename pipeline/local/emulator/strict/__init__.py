"""Requests that AWS refuses and ministack accepts; the embedded AWS refuses them with AWS's code and text.

    refusal                one row: service, call, condition, code, text, source
    table                  all rows, and the first one that applies to a call
    image_refusals, function_refusals, stack_refusals, name_refusals     the rows by subject
    inspection of ministack's state: ``control_plane``
    gates                  the patches that check calls: of the services' APIs, and of CloudFormation's handlers

Enabled by default (``pipeline.local.emulator.server``).
"""
