"""How a stack update moves traffic to new versions: gradually as the setting ``release`` says, or at once. Pure.

A template for gradual releases has the parameter ShiftTraffic (``cfn.shifting``). Traffic moves at once away from
placeholders and on a rollback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cfn.names import SHIFT_TRAFFIC
from cfn.preferences import shifting_seconds
from pipeline.stacks import StackState
from pipeline.stacks.state import canonical_template

# Seconds for a stack operation without traffic shifting.
OPERATION_SECONDS = 3600.0


def shift_parameter(template: str, before: StackState, images: Mapping[str, str]) -> dict[str, str]:
    """The parameter for an update of the stack ``before`` to ``template`` and ``images`` (by parameter).

    {} for a template that does not shift traffic. An update that changes neither template nor images keeps the
    parameter, so that repeating a release changes nothing.
    """
    if not _shifts(template):
        return {}
    changed = {name for name, image in images.items() if before.parameters.get(name) != image}
    if any(before.parameters.get(name) == "" for name in changed):
        return {SHIFT_TRAFFIC: "false"}
    if not changed and canonical_template(template) == before.template:
        return {SHIFT_TRAFFIC: before.parameters.get(SHIFT_TRAFFIC, "true")}
    return {SHIFT_TRAFFIC: "true"}


def at_once(template: str) -> dict[str, str]:
    """The parameter for an update whose traffic moves at once; {} for a template that does not shift traffic."""
    return {SHIFT_TRAFFIC: "false"} if _shifts(template) else {}


def operation_seconds(template: str) -> float:
    """Seconds that an update to ``template`` may take: a shift that fails at its end is followed by one back."""
    preferences = [
        str(resource["Properties"].get("DeploymentConfigName", "")).removeprefix("CodeDeployDefault.")
        for resource in _read(template).get("Resources", {}).values()
        if resource["Type"] == "AWS::CodeDeploy::DeploymentGroup"
    ]
    return OPERATION_SECONDS + 2 * max(map(shifting_seconds, preferences), default=0)


def _shifts(template: str) -> bool:
    return SHIFT_TRAFFIC in _read(template).get("Parameters", {})


def _read(template: str) -> dict[str, Any]:
    """The parsed template; {} if it is not JSON, which this project never deploys."""
    try:
        document = json.loads(template)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
