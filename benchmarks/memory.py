"""Peak memory of building and pushing on a large base, which should not depend on the size of the base.

    python -m benchmarks.memory [--megabytes 600] [--layers 6]

The base is an OCI layout with layers of random bytes. `up` builds every function on it, checks the images and pushes
them to the embedded ECR. The peak is the kernel's count for that process, without the embedded AWS.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO, cast

from benchmarks.measure import Limit, Project, bytes_sent, embedded_aws, machine, print_table

CHUNK = 1 << 20


class _Counting:
    """A file that hashes what is written through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hasher = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hasher.update(data)
        self.size += len(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hasher.hexdigest()}"


class _Compressing:
    """Gzip around another file, fast, hashing what goes in."""

    def __init__(self, file: _Counting) -> None:
        self._file = file
        self._compress = zlib.compressobj(0, wbits=31)
        self._hasher = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hasher.update(data)
        self._file.write(self._compress.compress(data))
        return len(data)

    def close(self) -> str:
        self._file.write(self._compress.flush())
        return f"sha256:{self._hasher.hexdigest()}"


class _Noise:
    """Random bytes to read, so that nothing is found twice or compresses."""

    def read(self, size: int = -1) -> bytes:
        return os.urandom(size)


def make_base(folder: Path, megabytes: int, layers: int) -> None:
    """Write an OCI layout of ``layers`` layers that have ``megabytes`` together."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(content: bytes, media_type: str) -> dict[str, object]:
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(content)}

    described, plain = [], []
    for number in range(layers):
        written = blobs / "writing"
        with written.open("wb") as raw:
            counting = _Counting(raw)
            compressing = _Compressing(counting)
            with tarfile.open(fileobj=cast(IO[bytes], compressing), mode="w|", bufsize=CHUNK) as tar:
                parent = tarfile.TarInfo("opt")
                parent.type, parent.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(parent)
                entry = tarfile.TarInfo(f"opt/noise-{number}")
                entry.size, entry.mode = megabytes * 1_000_000 // layers, 0o644
                tar.addfile(entry, _Noise())
            plain.append(compressing.close())
        written.rename(blobs / counting.digest.removeprefix("sha256:"))
        layer = "application/vnd.oci.image.layer.v1.tar+gzip"
        described.append({"mediaType": layer, "digest": counting.digest, "size": counting.size})
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": ["/lambda-entrypoint.sh"], "WorkingDir": "/var/task", "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": plain},
    }
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": described,
    }
    index = {"schemaVersion": 2, "manifests": [add(json.dumps(manifest).encode(), manifest_type)]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def main() -> int:
    parser = argparse.ArgumentParser(description="Peak memory of building and pushing on a large base.")
    parser.add_argument("--megabytes", type=int, default=600, help="of the base's layers together (600)")
    parser.add_argument("--layers", type=int, default=6, help="of the base (6)")
    arguments = parser.parse_args()

    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        make_base(folder / "base", arguments.megabytes, arguments.layers)
        project = Project(folder / "project", folder / "local")
        project.warm_up()
        rows = []
        for name, base in ((f"base of {arguments.megabytes} MB", f"oci:{folder / 'base'}"), ("empty base", "empty")):
            with embedded_aws(folder / "local"):
                run = project.bootstrap("up", "--no-smoke", "--events", "--base", base)
            print(f"{name}: {bytes_sent(run.output):,} bytes sent in {run.seconds:.1f} s", flush=True)
            rows.append(Limit(f"up, {name}", [run.memory / 1e6], 150, "MB"))
            shutil.rmtree(folder / "local")
    return 0 if print_table("peak memory", ("", "ours"), rows) else 1


if __name__ == "__main__":
    sys.exit(main())
