"""What engines and builders say, read without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.build_output import read_buildx
from pipeline.engine.connection import is_podman
from pipeline.local.containers.confinement import LABEL, sweep

RUN = """\
#0 building with "default" instance using docker driver

#5 [2/2] RUN echo hello;  exit 3
#5 0.048 hello
#5 ERROR: process "/bin/sh -c echo hello;  exit 3" did not complete successfully: exit code: 3
------
 > [2/2] RUN echo hello;  exit 3:
0.048 hello
------
Dockerfile:2
--------------------
   1 |     FROM base
   2 | >>> RUN echo hello; \\
   3 | >>>  exit 3
   4 |     
--------------------
ERROR: failed to solve: process "/bin/sh -c echo hello;  exit 3" did not complete successfully: exit code: 3
"""  # noqa: W291
PARSE = """\
Dockerfile:2
--------------------
   1 |     FROM base
   2 | >>> RUM echo hello
--------------------
ERROR: failed to solve: dockerfile parse error on line 2: unknown instruction: RUM (did you mean RUN?)
"""


@pytest.mark.parametrize(
    ("output", "told", "said"),
    [
        (
            RUN,
            'process "/bin/sh -c echo hello;  exit 3" did not complete successfully: exit code: 3',
            ["Step : RUN echo hello; exit 3", "hello"],
        ),
        (
            PARSE,
            "dockerfile parse error on line 2: unknown instruction: RUM (did you mean RUN?)",
            ["Step : RUM echo hello"],
        ),
        ("ERROR: Cannot connect to the Docker daemon\n", "Cannot connect to the Docker daemon", []),
        ("unknown flag: --sbom\n", "unknown flag: --sbom", []),
        ("", "", []),
    ],
)
def test_what_buildx_printed_is_read_like_the_classic_builders_words(output: str, told: str, said: list[str]) -> None:
    assert read_buildx(output) == (told, said)


class Engine:
    """As much of an engine as is asked: Podman's order of removing."""

    def __init__(self, *components: str) -> None:
        self._components = components
        self.removed: list[str] = []

    def version(self) -> dict[str, Any]:
        return {"Components": [{"Name": name} for name in self._components]}

    def containers(self, **_filters: Any) -> list[dict[str, Any]]:
        return [
            {"Id": "gateway", "Labels": {f"{LABEL}.role": "gateway"}},
            {"Id": "one", "Labels": {f"{LABEL}.role": "function"}},
            {"Id": "other", "Labels": None},
        ]

    def remove_container(self, container: str, *, force: bool) -> None:
        assert force
        self.removed.append(container)


def test_the_gateway_goes_after_the_containers_in_its_network() -> None:
    engine = Engine()
    assert sweep(engine, Path("/local")) == 3
    assert engine.removed == ["one", "other", "gateway"]


@pytest.mark.parametrize(
    ("components", "expected"), [(("Engine", "containerd"), False), (("Podman Engine", "Conmon"), True), ((), False)]
)
def test_podman_is_told_from_docker(components: tuple[str, ...], expected: bool) -> None:
    assert is_podman(Engine(*components)) is expected
