"""What AWS refuses and ministack accepts: the embedded AWS refuses it too, with AWS's code and text.

    refusal                one row: service, call, condition, code, text, source
    table                  all rows, and the first one that applies to a call
    image_refusals, function_refusals, stack_refusals, name_refusals     the rows by subject
    inspection of ministack's state: ``control_plane``
    gates                  the patches through which calls come: the services' APIs, and CloudFormation's handlers

On unless the emulator is started without it (``pipeline.local.emulator.server``).
"""
