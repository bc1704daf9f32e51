"""The entrance ``files``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troposphere import Template

from cfn.data import Data
from cfn.functions import FunctionResources
from cfn.names import Names
from cfn.settings import Settings
from cfn.workflow.state_machine import Workflow


def add_files(
    template: Template,
    settings: Settings,
    names: Names,
    *,
    functions: Mapping[str, FunctionResources],
    data: Data,
    workflow: Workflow,
    alarm_topic: Any,
) -> None:
    """Add what the entrance has beside the events of its functions."""
