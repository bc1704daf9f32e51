"""Isolate worker processes from this machine and from each other, with bubblewrap.

A sandbox contains its image's files and this machine's Python, read-only, and a separate /tmp, process tree and
network. Root's workers run as another user. A function cannot access the home folder, the local folder or other
processes, and its network contains only its Runtime API and the embedded AWS.

Without bubblewrap, or where the kernel refuses it, functions run as plain processes, and ``Isolation`` says why.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.local.runtime.command import WorkerCommand, interpreter

# The user and group that Lambda runs functions as.
USER, GROUP = 993, 990
# Lambda's /tmp has 512 MB unless a function asks for more (AWS documentation, Lambda quotas).
_TMP_BYTES = 512 << 20
RUNTIME_API_PORT = 9001
_START = Path(__file__).with_name("sandbox_start.py")
_START_INSIDE = "/run/sandbox_start.py"
# From this machine, because those of an image are built for another C library and another Python.
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr")
_NOT_OF_THE_IMAGE = {*_SYSTEM, "dev", "etc", "proc", "run", "sys", "tmp"}
# Files that programs need and that do not reveal this machine's users.
_ETC = ("alternatives", "ca-certificates", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types",
        "pki", "ssl")  # fmt: skip
_TRY_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A working bubblewrap. ``setpriv``: the program that drops root, "" if the user is not root."""

    bubblewrap: str
    version: str
    setpriv: str = ""

    def arguments(self, command: WorkerCommand, channel: int, aws_port: int) -> tuple[str, ...]:
        """The command line of a worker. ``channel`` is the inherited socket that ``receive_listeners`` reads."""
        program, *options = command.arguments
        split = options.index("-S") + 1
        start = [program, *options[:split], _START_INSIDE, str(channel), str(api_port(aws_port)), str(aws_port)]
        return self.wrap(command.rootfs, str(command.folder), [*start, *options[split:]])

    def wrap(self, rootfs: Path | None, folder: str, arguments: Sequence[str]) -> tuple[str, ...]:
        """The command line that runs ``arguments`` in a sandbox with the folders of ``rootfs``, if any."""
        wrapped = [
            self.bubblewrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
            "--die-with-parent", "--hostname", "sandbox",
        ]  # fmt: skip
        if not self.setpriv:
            wrapped += ["--unshare-user", "--uid", str(USER), "--gid", str(GROUP)]
        wrapped += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", str(_TMP_BYTES), "--tmpfs", "/tmp"]  # noqa: S108
        wrapped += ["--perms", "0755", "--dir", "/run", "--ro-bind", str(_START), _START_INSIDE]
        for mount in _mounts(rootfs):
            wrapped += mount
        # Without root, the function owns the folders between the mounts.
        wrapped += ["--remount-ro", "/", "--chdir", folder, "--"]
        if self.setpriv:
            wrapped += [
                self.setpriv, f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--inh-caps=-all",
                "--bounding-set=-all", "--no-new-privs", "--",
            ]  # fmt: skip
        return (*wrapped, *arguments)


def api_port(aws_port: int) -> int:
    """The Runtime API's port in a sandbox: that of Lambda, unless the embedded AWS uses it."""
    return RUNTIME_API_PORT if aws_port != RUNTIME_API_PORT else RUNTIME_API_PORT + 1


def _mounts(rootfs: Path | None) -> Iterator[list[str]]:
    """This machine's system and Python, and the image's folders, all read-only."""
    for name in _SYSTEM:
        place = Path("/", name)
        if place.is_symlink():
            yield ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            yield ["--ro-bind", str(place), str(place)]
    yield from (["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"] for name in _ETC)
    yield ["--ro-bind-try", "/nix/store", "/nix/store"]
    python = {Path(sys.base_prefix).resolve(), Path(interpreter()).parents[1]}
    own = sorted(each for each in python if not each.is_relative_to("/usr") and each != Path("/"))
    if rootfs is not None:
        yield from _image_mounts(rootfs, Path("/"), own)
    for prefix in own:
        for parent in reversed(prefix.parents[:-1]):
            yield ["--perms", "0755", "--dir", str(parent)]
        yield ["--ro-bind", str(prefix), str(prefix)]


def _image_mounts(source: Path, target: Path, python: Sequence[Path]) -> Iterator[list[str]]:
    """The image's folders at their paths; a folder that would hide this machine's Python is split."""
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            place = target / entry.name
            if target == Path("/") and entry.name in _NOT_OF_THE_IMAGE:
                continue
            if not entry.is_dir(follow_symlinks=False):
                if not entry.is_symlink():
                    yield ["--ro-bind", entry.path, str(place)]
            elif any(each == place for each in python):
                continue
            elif any(each.is_relative_to(place) for each in python):
                yield ["--perms", "0755", "--dir", str(place)]
                yield from _image_mounts(Path(entry.path), place, python)
            else:
                yield ["--ro-bind", entry.path, str(place)]


@dataclass(frozen=True, slots=True)
class Isolation:
    """The isolation of functions: a sandbox, or why there is none and how to enable it."""

    sandbox: Sandbox | None
    why_not: str = ""
    cure: str = ""

    @property
    def text(self) -> str:
        if self.sandbox is not None:
            return f"each worker runs in its own sandbox (bubblewrap {self.sandbox.version})"
        user = "root" if os.geteuid() == 0 else "you"
        return f"functions run without a sandbox, as {user}, because {self.why_not}"


def find_isolation() -> Isolation:
    """Find bubblewrap and try it. Takes some tens of milliseconds."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return Isolation(None, "bubblewrap is not installed", "Install it, such as with: apt-get install bubblewrap")
    setpriv = ""
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv") or ""
        if not setpriv:
            return Isolation(None, "setpriv is not installed", "Install util-linux.")
    said = _run([bubblewrap, "--version"])
    sandbox = Sandbox(bubblewrap, (re.findall(r"[0-9.]+", said.stdout) or ["of unknown version"])[0], setpriv)
    tried = _run(list(sandbox.wrap(None, "/", [interpreter(), "-I", "-S", "-c", "import socket"])))
    if tried.returncode == 0:
        return Isolation(sandbox)
    reason = (tried.stderr.strip().splitlines() or [f"it ended with status {tried.returncode}"])[-1]
    return Isolation(None, f"bubblewrap does not work here ({reason})", "Allow unprivileged user namespaces.")


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TRY_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(arguments, 1, "", str(error))
