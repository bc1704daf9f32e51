"""How containers of the local target are confined and identified."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pipeline.core.errors import LocalError

LABEL = "transaction-pipeline.local"
# The group that Lambda runs functions as. Their user is 993 there; here each container has its own.
GROUP = 990
# Lambda's /tmp has 512 MB unless a function asks for more, and programs in it may be run.
_TMP = "rw,exec,nosuid,nodev,size=512m,mode=1777"
# Lambda's quotas for one execution environment (AWS documentation, Lambda quotas).
_PROCESSES_MAX = 1024
_FILES_MAX = 1024


class EngineFailure(OSError):
    """The engine failed or does not answer; the invocation may be retried."""


def labels(folder: Path, *, role: str, function: str = "") -> dict[str, str]:
    """The labels of a container: its local folder, its role, and its function."""
    about = {LABEL: str(folder), f"{LABEL}.role": role}
    return about | ({f"{LABEL}.function": function} if function else {})


def sandbox_settings(memory_mb: int) -> dict[str, Any]:
    """The host settings of every container: as on Lambda a read-only root, a /tmp, no privileges, no swap.

    Its output is read while it is written and not stored.
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
    """Remove every container of the local folder, running or not, and return their number.

    Raises LocalError if the engine fails.
    """
    import docker
    import requests

    from pipeline.engine.connection import explain

    try:
        found = engine.containers(all=True, filters={"label": f"{LABEL}={folder}"})
        # The gateway last: the others use its network, and Podman keeps it while they exist.
        for container in sorted(found, key=lambda each: (each.get("Labels") or {}).get(f"{LABEL}.role") == "gateway"):
            # If it is ending already, the engine reports a conflict.
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
