"""Add the entrances of the settings to the pipeline stack.

What an entrance's functions need (image, role, routes, queues of their own) comes from their ``function.toml``, as that
of any function; a module here adds what belongs to the entrance as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troposphere import Template

from cfn.data import Data
from cfn.entrances.files_entrance import add_files
from cfn.entrances.http_entrance import add_http
from cfn.entrances.queue_entrance import add_queue_entrance
from cfn.functions import FunctionResources
from cfn.names import Names
from cfn.settings import Entrance, Settings
from cfn.workflow.state_machine import Workflow

_ENTRANCES = {Entrance.HTTP: add_http, Entrance.QUEUE: add_queue_entrance, Entrance.FILES: add_files}


def add_entrances(
    template: Template,
    settings: Settings,
    names: Names,
    *,
    functions: Mapping[str, FunctionResources],
    data: Data,
    workflow: Workflow,
    alarm_topic: Any,
) -> None:
    """Add each entrance of the settings, after the functions and their events.

    functions    all functions of the stack, by name
    alarm_topic  the ARN of the topic for alarms
    """
    for entrance in settings.entrances:
        _ENTRANCES[entrance](
            template, settings, names, functions=functions, data=data, workflow=workflow, alarm_topic=alarm_topic
        )
