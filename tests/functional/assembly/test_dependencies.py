"""Locked wheels into layers with the real installer, from wheels made here: no index is asked."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from pathlib import Path

import pytest

from cfn.settings import Architecture, FunctionDefinition
from pipeline.assembly.dependencies.installation import install, read_lock
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import FunctionSource, Platform, PythonVersion
from pipeline.core.errors import DependencyError
from pipeline.core.events import Event
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import Layer

ARM = Platform(Architecture.ARM64, PythonVersion(3, 13))
INTEL = Platform(Architecture.X86_64, PythonVersion(3, 13))


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Index:
    """A folder of wheels, and locks for them."""

    folder: Path
    hashes: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        tag: str,
        files: Mapping[str, str],
        *,
        needs: str = "",
        scripts: bool = False,
        version: str = "1.0",
    ) -> None:
        """Write a wheel as any packer would; ``needs`` is a requirement of it."""
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
            f"Requires-Dist: {needs}\n" if needs else ""
        )
        contents = {
            **files,
            f"{info}/METADATA": metadata,
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        }
        if scripts:
            contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
        record = io.StringIO()
        for path, text in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.write(f"{path},sha256={digest},{len(text.encode())}\n")
        record.write(f"{info}/RECORD,,\n")
        wheel = self.folder / f"{name}-{version}-{tag}.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, text in {**contents, f"{info}/RECORD": record.getvalue()}.items():
                archive.writestr(path, text)
        self.hashes.setdefault(f"{name}=={version}", []).append(hashlib.sha256(wheel.read_bytes()).hexdigest())

    def lock(self, *pins: str) -> str:
        lines = []
        for pin in pins:
            hashes = self.hashes.get(pin.partition(" ")[0], ["0" * 64])
            lines.append(f"{pin} " + " ".join(f"--hash=sha256:{each}" for each in hashes))
        return "\n".join(lines) + "\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    return Index(folder)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def _source(folder: Path, name: str, lock: str) -> FunctionSource:
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "handler.py").write_text("def handle(event, context):\n    return event\n")
    (place / "requirements.txt").write_text(lock)
    return FunctionSource(FunctionDefinition(name), place, "handler.handle", place / "requirements.txt")


def _members(store: BlobStore, layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(store.path(layer.descriptor.digest)) as tar:
        return {member.name.removeprefix("var/task/"): member for member in tar.getmembers() if not member.isdir()}


def test_each_target_gets_its_own_wheels(index: Index, store: BlobStore, tmp_path: Path) -> None:
    index.add("native", "cp313-cp313-manylinux_2_28_aarch64", {"native/arm.so": "arm"})
    index.add("native", "cp313-cp313-manylinux_2_17_x86_64", {"native/intel.so": "intel"})
    index.add("native", "cp311-cp311-manylinux_2_17_x86_64", {"native/other.so": "other"})
    source = _source(tmp_path, "f", index.lock("native==1.0"))
    arm, intel = (lay_out(source, platform, store)[0] for platform in (ARM, INTEL))
    assert "native/arm.so" in _members(store, arm)
    assert "native/intel.so" in _members(store, intel)


def test_nothing_of_this_machine_is_in_the_layer(index: Index, store: BlobStore, tmp_path: Path) -> None:
    index.add("tool", "py3-none-any", {"tool/__init__.py": "def main(): ...\n"}, scripts=True)
    source = _source(tmp_path, "f", index.lock("tool==1.0"))
    (layer, _) = lay_out(source, ARM, store, slim=Slim(enabled=False))
    assert sorted(_members(store, layer)) == [
        "tool-1.0.dist-info/METADATA",
        "tool-1.0.dist-info/RECORD",
        "tool-1.0.dist-info/WHEEL",
        "tool-1.0.dist-info/entry_points.txt",
        "tool/__init__.py",
    ]


def test_functions_with_one_lock_share_one_layer_and_one_installation(
    index: Index, store: BlobStore, tmp_path: Path
) -> None:
    index.add("tool", "py3-none-any", {"tool.py": ""})
    events: list[Event] = []
    sources = [_source(tmp_path, name, index.lock("tool==1.0") + f"# via {name}\n") for name in ("one", "two")]
    first, second = (lay_out(source, ARM, store, slim=Slim(), report=events.append)[0] for source in sources)
    assert first == second
    assert sum(1 for event in events if type(event).__name__ == "StepFinished") == 1


def test_another_installation_of_the_same_lock_gives_the_same_layer(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("tool", "py3-none-any", {f"tool/m{number}.py": "x = 1\n" for number in range(30)}, scripts=True)
    source = _source(tmp_path, "f", index.lock("tool==1.0"))
    first = lay_out(source, ARM, BlobStore(tmp_path / "one"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another cache"))
    monkeypatch.setenv("UV_LINK_MODE", "copy")
    assert lay_out(source, ARM, BlobStore(tmp_path / "two")) == first


def test_slim_leaves_out_what_no_function_needs(index: Index, store: BlobStore, tmp_path: Path) -> None:
    data = {f"botocore/data/{service}/2012/service-2.json.gz": "{}" for service in ("dynamodb", "ec2", "sts")}
    index.add(
        "botocore",
        "py3-none-any",
        {**data, "botocore/data/endpoints.json": "{}", "botocore/__init__.py": "", "botocore/tests/test_x.py": ""},
    )
    index.add("typed", "py3-none-any", {"typed/__init__.py": "", "typed/__init__.pyi": "", "typed/py.typed": ""})
    index.add(
        "uses_tests",
        "py3-none-any",
        {"uses_tests/__init__.py": "from .tests import x\n", "uses_tests/tests/__init__.py": "x=1"},
    )
    index.add("lazy", "py3-none-any", {"lazy/__init__.py": "lazy_loader.attach_stub(1)\n", "lazy/__init__.pyi": ""})
    source = _source(tmp_path, "f", index.lock("botocore==1.0", "typed==1.0", "uses_tests==1.0", "lazy==1.0"))
    full, slim = (
        {name for name in _members(store, lay_out(source, ARM, store, slim=each)[0]) if "dist-info" not in name}
        for each in (Slim(enabled=False), Slim(services=frozenset({"dynamodb"})))
    )
    assert full - slim == {
        "botocore/data/ec2/2012/service-2.json.gz",
        "botocore/tests/test_x.py",
        "typed/__init__.pyi",
    }
    assert slim < full


@pytest.mark.parametrize(
    "imports",
    [
        "from . import tests",
        "from .tests import x",
        "from pkg import a, tests",
        "from . import (\n    a,  # and\n    tests,\n)",
        "import pkg.tests.util",
        "import a, pkg.tests.util as b",
        "import_module('pkg.tests.util')",
        "import_module('.tests', __name__)",
        "files('pkg.tests')",
        "HERE = __file__ + '/tests/data.json'",
        "print 'of Python 2, with tests'",
    ],
)
def test_tests_that_a_package_imports_or_names_itself_are_shipped(
    index: Index, store: BlobStore, tmp_path: Path, imports: str
) -> None:
    index.add("pkg", "py3-none-any", {"pkg/__init__.py": f"{imports}\n", "pkg/tests/__init__.py": ""})
    layer, _ = lay_out(_source(tmp_path, "f", index.lock("pkg==1.0")), ARM, store)
    assert "pkg/tests/__init__.py" in _members(store, layer)


def test_tests_that_an_entry_point_loads_are_shipped(index: Index, store: BlobStore, tmp_path: Path) -> None:
    index.add(
        "pkg",
        "py3-none-any",
        {"pkg/tests/plugin.py": "", "pkg-1.0.dist-info/entry_points.txt": "[x]\ny = pkg.tests.plugin:z [e]\n"},
    )
    layer, _ = lay_out(_source(tmp_path, "f", index.lock("pkg==1.0")), ARM, store)
    assert "pkg/tests/plugin.py" in _members(store, layer)


def test_data_stubs_without_a_module_and_byte_code_without_source_are_content(
    index: Index, store: BlobStore, tmp_path: Path
) -> None:
    content = {
        "pkg/tests/generic/builtin.sql": "select 1",  # read by walking a folder, as dbt-adapters does
        "pkg/typeshed/json.pyi": "",
        "pkg/closed.pyc": "byte code",
    }
    left_out = {"pkg/open.py": "", "pkg/open.pyi": "", "pkg/__pycache__/open.cpython-313.pyc": "", "pkg/open.pyc": ""}
    index.add("pkg", "py3-none-any", {**content, **left_out})
    layer, _ = lay_out(_source(tmp_path, "f", index.lock("pkg==1.0")), ARM, store)
    assert {name for name in _members(store, layer) if "dist-info" not in name} == {*content, "pkg/open.py"}


def test_the_record_of_a_distribution_says_what_ships(index: Index, store: BlobStore, tmp_path: Path) -> None:
    index.add(
        "tool",
        "py3-none-any",
        {"tool/__init__.py": "x = 1\n", "tool/__init__.pyi": "", "tool/tests/a.py": ""},
        scripts=True,
    )
    layer, _ = lay_out(_source(tmp_path, "f", index.lock("tool==1.0")), ARM, store)
    with tarfile.open(store.path(layer.descriptor.digest)) as tar:
        tar.extractall(tmp_path / "layer", filter="data")
    (distribution,) = distributions(path=[str(tmp_path / "layer" / "var" / "task")])
    files = distribution.files or []
    assert sorted(map(str, files)) == sorted(_members(store, layer))
    for file in files:
        if file.hash is not None:
            digest = hashlib.new(file.hash.mode, file.read_binary()).digest()
            assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value
            assert file.size == len(file.read_binary())
    assert sum(1 for file in files if file.hash is None) == 1  # its own


def test_the_services_of_all_functions_count(tmp_path: Path) -> None:
    from cfn.settings import Call

    one = FunctionSource(FunctionDefinition("one", calls=(Call("sns", ("Publish",), "t"),)), tmp_path, "h.h")
    two = FunctionSource(FunctionDefinition("two", calls=(Call("sqs", ("SendMessage",), "q"),)), tmp_path, "h.h")
    secrets = (("TOKEN", "ssm:/shop/token"), ("DATABASE", "secretsmanager:shop/database"))
    three = FunctionSource(FunctionDefinition("three", secrets=secrets), tmp_path, "h.h")
    assert Slim.for_sources([one, two, three]).services == {"sns", "sqs", "ssm", "secretsmanager"}


def test_a_package_without_a_wheel_for_the_target_is_named(index: Index, store: BlobStore, tmp_path: Path) -> None:
    index.add("only_intel", "cp313-cp313-manylinux_2_17_x86_64", {"only_intel.py": ""})
    source = _source(tmp_path, "f", index.lock("only_intel==1.0"))
    lay_out(source, INTEL, store)
    with pytest.raises(DependencyError) as caught:
        lay_out(source, ARM, store)
    assert "linux/arm64 python3.13" in caught.value.what
    assert "only-intel" in caught.value.why
    assert "a wheel for linux/arm64 python3.13" in str(caught.value.next_step)
    assert "nothing is built from source" in str(caught.value.next_step)


def test_a_source_distribution_is_never_built(index: Index, store: BlobStore, tmp_path: Path) -> None:
    archive = index.folder / "from_source-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        setup = b"open('/tmp/this-ran', 'w')"
        info = tarfile.TarInfo("from_source-1.0/setup.py")
        info.size = len(setup)
        tar.addfile(info, io.BytesIO(setup))
    index.hashes["from_source==1.0"] = [hashlib.sha256(archive.read_bytes()).hexdigest()]
    with pytest.raises(DependencyError) as caught:
        lay_out(_source(tmp_path, "f", index.lock("from_source==1.0")), ARM, store)
    assert "from-source" in caught.value.why
    assert "wheel" in caught.value.why


def test_a_wheel_that_is_not_the_locked_one_is_refused(index: Index, store: BlobStore, tmp_path: Path) -> None:
    index.add("tool", "py3-none-any", {"tool.py": ""})
    index.hashes["tool==1.0"] = ["0" * 64]
    with pytest.raises(DependencyError) as caught:
        lay_out(_source(tmp_path, "f", index.lock("tool==1.0")), ARM, store)
    assert "Hash mismatch for `tool==1.0`" in caught.value.why
    assert "lock was edited" in str(caught.value.next_step)
    assert not list((store.root / "work").iterdir())


def test_a_dependency_that_the_lock_leaves_out_is_named(index: Index, store: BlobStore, tmp_path: Path) -> None:
    index.add("leaf", "py3-none-any", {"leaf.py": ""})
    index.add("tool", "py3-none-any", {"tool.py": ""}, needs="leaf")
    with pytest.raises(DependencyError) as caught:
        lay_out(_source(tmp_path, "f", index.lock("tool==1.0")), ARM, store)
    assert "leaf" in caught.value.why
    assert "Write the lock again" in str(caught.value.next_step)


@pytest.mark.parametrize(
    ("wanted", "pins", "said"),
    [
        ("tool\nleaf>=1\n", ["tool==1.0"], "you require leaf>=1"),
        ("tool>=2", ["tool==1.0"], "you require tool>=2"),
        ("tool", [], "tool was not found in the lock"),
        ("tool[more]", ["tool==1.0"], "leaf"),
        ("-r more.in", ["tool==1.0"], "you require leaf"),
        ("tool\n-c less.in", ["tool==1.0"], "you require tool<1"),
    ],
)
def test_a_lock_that_does_not_satisfy_its_requirements_is_an_error(
    index: Index, store: BlobStore, tmp_path: Path, wanted: str, pins: list[str], said: str
) -> None:
    index.add("tool", "py3-none-any", {"tool.py": ""}, needs="leaf; extra == 'more'\nProvides-Extra: more")
    index.add("leaf", "py3-none-any", {"leaf.py": ""})
    source = _source(tmp_path, "f", index.lock(*pins))
    (source.folder / "more.in").write_text("leaf\n")
    (source.folder / "less.in").write_text("tool<1\n")
    lay_out(source, ARM, store)
    (source.folder / "requirements.in").write_text(wanted)
    with pytest.raises(DependencyError, match=rf"does not satisfy its requirements.in: .*{said}"):
        lay_out(source, ARM, store)


@pytest.mark.parametrize(
    "wanted",
    [
        "--no-binary x\nTool[none] >= 0.5, < 2  # why\n",
        "tool\nonly-old ; python_version < '3.12'\nonly-intel ; platform_machine == 'x86_64'\n",
        "-r more.in\n",
        "tool\n-c more.in\n",
    ],
)
def test_a_lock_that_satisfies_its_requirements_is_taken(
    index: Index, store: BlobStore, tmp_path: Path, wanted: str
) -> None:
    index.add("tool", "py3-none-any", {"tool.py": ""})
    source = _source(tmp_path, "f", index.lock("tool==1.0"))
    (source.folder / "more.in").write_text("tool>=1\n")
    (source.folder / "requirements.in").write_text(wanted)
    assert lay_out(source, ARM, store)


def test_an_empty_lock_whose_requirements_need_nothing_here_is_taken(
    index: Index, store: BlobStore, tmp_path: Path
) -> None:
    source = _source(tmp_path, "f", "")
    (source.folder / "requirements.in").write_text("only-old ; python_version < '3.12'\n")
    assert lay_out(source, ARM, store) == lay_out(source, ARM, store)


def test_a_requirement_of_an_included_file_that_changes_is_seen(index: Index, store: BlobStore, tmp_path: Path) -> None:
    index.add("tool", "py3-none-any", {"tool.py": ""})
    source = _source(tmp_path, "f", index.lock("tool==1.0"))
    (source.folder / "requirements.in").write_text("-r more.in\n")
    (source.folder / "more.in").write_text("tool\n")
    assert lay_out(source, ARM, store)
    (source.folder / "more.in").write_text("tool\nanother\n")
    with pytest.raises(DependencyError, match="you require another"):
        lay_out(source, ARM, store)


@pytest.mark.parametrize(("python", "chosen"), [("3.11", "old"), ("3.13", "new")])
def test_wheels_are_chosen_for_the_glibc_of_the_targets_python(
    index: Index, store: BlobStore, tmp_path: Path, python: str, chosen: str
) -> None:
    index.add("native", "py3-none-manylinux_2_17_aarch64", {"native/old.so": ""})
    index.add("native", "py3-none-manylinux_2_34_aarch64", {"native/new.so": ""})
    source = _source(tmp_path, "f", index.lock("native==1.0"))
    layer, _ = lay_out(source, Platform(Architecture.ARM64, PythonVersion.parse(python)), store)
    assert f"native/{chosen}.so" in _members(store, layer)


def test_a_wheel_that_needs_a_newer_glibc_is_refused_with_the_versions(
    index: Index, store: BlobStore, tmp_path: Path
) -> None:
    index.add("native", "py3-none-manylinux_2_28_aarch64", {"native/new.so": ""})
    source = _source(tmp_path, "f", index.lock("native==1.0"))
    assert lay_out(source, ARM, store)
    with pytest.raises(DependencyError, match=r"linux/arm64 python3.11 with glibc 2.26 or older"):
        lay_out(source, Platform(Architecture.ARM64, PythonVersion(3, 11)), store)


def test_a_package_that_nobody_has_is_named(index: Index, store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="no-such-package"):
        lay_out(_source(tmp_path, "f", index.lock("no-such-package==1.0")), ARM, store)


def test_without_a_network_the_error_says_so(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.delenv("UV_FIND_LINKS")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    lock = read_lock(_source(tmp_path, "f", index.lock("tool==1.0")).requirements or Path())
    for offline in (True, False):
        with pytest.raises(DependencyError) as caught:
            install(lock, ARM, tmp_path / "target", offline=offline)
        assert "tool" in caught.value.why
        assert "Connect to the package index" in str(caught.value.next_step)


def test_wheels_that_are_cached_need_no_network(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("tool", "py3-none-any", {"tool.py": ""})
    site = tmp_path / "site" / "simple" / "tool"
    site.mkdir(parents=True)
    for wheel in index.folder.iterdir():
        shutil.copy(wheel, site)
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.delenv("UV_FIND_LINKS")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    source = _source(tmp_path, "f", index.lock("tool==1.0"))
    handler = partial(QuietHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/simple")
        online = lay_out(source, ARM, BlobStore(tmp_path / "one"))
        server.shutdown()
    assert lay_out(source, ARM, BlobStore(tmp_path / "two")) == online
