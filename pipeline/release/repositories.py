"""The repositories of a stack 1 that is being created take images before the rest of it stands.

On AWS a new stack 1 takes half a minute, most of it for the role and the function that push the placeholders, and a
base image takes as long to upload. So the upload begins when CloudFormation has told of all repositories. A push that
came too early, or into repositories that a rollback took away, is simply done again when the stack stands.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.names import Names, repository_resource
from pipeline.core.events import Event, Report, ResourceChanged


class NewRepositories:
    """A report that passes on what happens to stack 1, and knows when its repositories were created.

    Threads wait for them in ``wait``, which returns at the latest when ``end`` is called.
    """

    def __init__(self, names: Names, functions: Iterable[str], report: Report) -> None:
        self._names = names
        self._functions = tuple(functions)
        self._report = report
        self._awaited = {repository_resource(name) for name in self._functions}
        self._decided = threading.Event()
        self._lost = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, ResourceChanged) and event.stack == self._names.registry_stack:
            if "ROLLBACK" in event.status or event.status.startswith("DELETE"):
                self._lost = True
            elif event.status == "CREATE_COMPLETE":
                self._awaited.discard(event.logical_id)
            if not self._awaited:
                self._decided.set()
        self._report(event)

    def end(self) -> None:
        """The stack stands, or never will."""
        self._decided.set()

    def wait(self) -> bool:
        """Whether this run has seen all repositories being created."""
        self._decided.wait()
        return self.stand

    @property
    def stand(self) -> bool:
        """Whether all were created and none went away again, as far as was told."""
        return not self._awaited and not self._lost

    def uris(self, ecr: Any) -> dict[str, str] | None:
        """Each function's repository; None where ECR does not tell."""
        by_name = {self._names.repository(function): function for function in self._functions}
        try:
            found = ecr.describe_repositories(repositoryNames=sorted(by_name))["repositories"]
        except (ClientError, BotoCoreError):
            return None
        return {by_name[each["repositoryName"]]: each["repositoryUri"] for each in found}
