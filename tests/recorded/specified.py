"""Answers that no recording covers but the Amazon States Language says: fields of Parallel and Succeed with JSONata.

https://states-language.net/spec.html#state-type-table: both take Output, and Parallel takes Assign.
"""

from __future__ import annotations

from typing import Any

_BRANCH = {"StartAt": "Inner", "States": {"Inner": {"Type": "Pass", "Output": {"inner": 1}, "End": True}}}


def _machine(states: dict[str, Any], output: Any) -> dict[str, Any]:
    definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}
    return {"definition": definition, "input": {}, "status": "SUCCEEDED", "output": output, "states": None}


SPECIFIED = {
    "specified-parallel-output": _machine(
        {"Both": {"Type": "Parallel", "Branches": [_BRANCH], "Output": "{% $states.result[0].inner %}", "End": True}}, 1
    ),
    "specified-parallel-assign": _machine(
        {
            "Both": {
                "Type": "Parallel",
                "Branches": [_BRANCH],
                "Assign": {"kept": "{% $states.result[0].inner %}"},
                "Next": "Show",
            },
            "Show": {"Type": "Pass", "Output": "{% $exists($kept) ? $kept : 'not assigned' %}", "End": True},
        },
        1,
    ),
    "specified-succeed-output": _machine({"Done": {"Type": "Succeed", "Output": {"done": True}}}, {"done": True}),
}
