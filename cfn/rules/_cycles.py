"""Cycles through IAM resources, with every resource and property in them.

cfn-lint's E3004 only names two neighbours of a cycle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from ._template import Finding, Resource, TemplateRule, View, tokens


class IamCycle(TemplateRule):
    id = "E9550"
    shortdesc = "A circular dependency through an IAM resource"
    description = (
        "A role or policy that refers to a resource which depends on it cannot be created: 'Circular dependency "
        "between resources'. Move the statements into a separate AWS::IAM::Policy, or build the ARN from a name."
    )
    source_url = "https://aws.amazon.com/blogs/infrastructure-and-automation/handling-circular-dependency-errors-in-aws-cloudformation/"
    tags = ("resources", "iam", "circularly")

    def find(self, view: View) -> Iterator[Finding]:
        reported: set[frozenset[str]] = set()
        for resource in view.all.values():
            if resource.type.startswith("AWS::IAM::"):
                cycle = _shortest_cycle(view, resource.id)
                # SAM splits its resources, which can break a cycle (as in E3004).
                if cycle and not any(view.all[name].type.startswith("AWS::Serverless::") for name in cycle):
                    if frozenset(cycle) not in reported:
                        yield Finding(resource.path, _describe(view, cycle))
                    reported.add(frozenset(cycle))


def _shortest_cycle(view: View, start: str) -> list[str] | None:
    came_from: dict[str, str] = {}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for name in sorted(view.all[here].depends_on & view.all.keys()):
            if name == start:
                cycle = [here]
                while cycle[-1] != start:
                    cycle.append(came_from[cycle[-1]])
                return cycle[::-1]
            if name not in came_from:
                came_from[name] = here
                waiting.append(name)
    return None


def _describe(view: View, cycle: list[str]) -> str:
    steps = zip(cycle, [*cycle[1:], cycle[0]], strict=True)
    references = "; ".join(f"{one} refers to {other} in {_property(view.all[one], other)}" for one, other in steps)
    return f"Cycle: {' → '.join([*cycle, cycle[0]])}. {references}"


def _property(resource: Resource, target: str) -> str:
    def search(node: Any, path: tuple[str, ...]) -> str | None:
        children: list[tuple[str, Any]] = []
        if isinstance(node, dict):
            children = list(node.items())
        elif isinstance(node, list):
            children = [(str(i), item) for i, item in enumerate(node)]
        for key, child in children:
            if target in tokens(child):
                return search(child, (*path, key))
        return "/".join(path)

    return search(resource.properties, ()) or "DependsOn"
