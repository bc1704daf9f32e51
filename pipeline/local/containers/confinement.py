"""How containers of the local target are confined and recognised."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pipeline.core.errors import LocalError

LABEL = "transaction-pipeline.local"
# The user and group that Lambda runs functions as.
USER = "993:990"
# Lambda's /tmp has 512 MB unless a function asks for more, and programs in it may be run.
_TMP = "rw,exec,nosuid,nodev,size=512m,mode=1777"
# Lambda's quotas for one execution environment (AWS documentation, Lambda quotas).
_PROCESSES_MAX = 1024
_FILES_MAX = 1024


class EngineFailure(OSError):
    """The engine did not do what it was asked to, or does not answer; the invocation may be tried again."""


def labels(folder: Path, *, role: str, function: str = "") -> dict[str, str]:
    """What says whose a container is: the local folder, the role in it, and the function."""
    about = {LABEL: str(folder), f"{LABEL}.role": role}
    return about | ({f"{LABEL}.function": function} if function else {})


def sandbox_settings(memory_mb: int) -> dict[str, Any]:
    """What every container gets: as on Lambda a root that cannot be written, a /tmp, no privileges, no swap.

    Its log is read while it is written and kept nowhere else.
    """
    return {
        "read_only": True,
        "tmpfs": {"/tmp": _TMP},  # noqa: S108
        "mem_limit": f"{memory_mb}m",
        "memswap_limit": f"{memory_mb}m",
        "pids_limit": _PROCESSES_MAX,
        "ulimits": [{"Name": "nofile", "Soft": _FILES_MAX, "Hard": _FILES_MAX}],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "log_config": {"type": "none", "config": {}},
    }


def sweep(engine: Any, folder: Path) -> int:
    """Remove every container of the local folder, running or not; what a killed run left, or this one at its end.

    Raises LocalError when the engine does not let them go.
    """
    import docker
    import requests

    from pipeline.engine.connection import explain

    try:
        found = engine.containers(all=True, filters={"label": f"{LABEL}={folder}"})
        # The gateway last: the others live in its network, and Podman keeps it as long as they are there.
        for container in sorted(found, key=lambda each: (each.get("Labels") or {}).get(f"{LABEL}.role") == "gateway"):
            # It may be on its way out by itself, which the engine tells as a conflict.
            with contextlib.suppress(docker.errors.NotFound):
                try:
                    engine.remove_container(container["Id"], force=True)
                except docker.errors.APIError as error:
                    if error.status_code != 409:
                        raise
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise LocalError(
            f"the containers of {folder} were not removed",
            explain(error),
            f"Remove them by hand: docker rm -f $(docker ps -aq --filter label={LABEL}={folder})",
        ) from error
    return len(found)
