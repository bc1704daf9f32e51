"""A thousand hostile inputs, each of which must be refused with an explanation.

    python -m tests.hostile_inputs

Arguments, files, transactions, images and events go through the same readers as a user's. All run in this one process,
so that its peak memory bounds the memory of each input. Prints one line for each kind, and one for each input that was
accepted, ended in another exception, or took too long or too much; exits with 1 if there is one.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import json
import logging
import os
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

SECONDS, MEMORY = 10.0, 200 << 20
# The longest explanation, in characters.
TEXT = 5_000
# Returns the explanation, or "" for an input that is accepted.
Case = tuple[str, Callable[[], str]]

TEXTS: dict[str, Any] = {
    "empty": "", "blank": " ", "newline": "a\nb", "escape": "\x1b[2J", "nul": "\0", "right-to-left": "\u202eabc",
    "zero-width": "a\u200bb", "half a pair": "\ud800", "long": "x" * 300_000, "number": 7, "negative": -1, "true": True,
    "null": None, "list": [], "nested": [[[["x"]]]], "object": {"a": {"b": 1}}, "huge": 10**400,
    "many": list(range(50_000)), "format": "%s%n{}", "path": "../../etc/passwd", "quote": "'\"`$(id)",
}  # fmt: skip


def refusal(errors: type[Exception] | tuple[type[Exception], ...], read: Callable[[], object]) -> str:
    try:
        read()
    except errors as error:
        return str(error) or type(error).__name__
    return ""


def arguments(folder: Path) -> Iterator[Case]:
    """Values that no environment, region, target, timeout, builder or runtime has, for every command."""
    from click.testing import CliRunner

    import bootstrap
    from commands.usage import MODULES
    from tests.functional.commands.test_hostile_arguments import ONLY_THESE_NAMES, judge, lines_for

    os.environ["TRANSACTION_PIPELINE_LOCAL"] = str(folder / "none" / "local")
    runner = CliRunner()

    def answer(line: list[str]) -> str:
        result = runner.invoke(bootstrap.main, line, input=b"")
        if wrong := judge(result, 0):
            raise AssertionError(wrong)
        return result.output if result.exit_code == 2 else ""

    found = [
        (f"{name} {parameter.name} {value[:20]!a}", line)
        for name in MODULES
        for parameter, value, line in lines_for(name)
        if parameter.name in ONLY_THESE_NAMES
    ]
    for name, line in found[:: len(found) // 300]:
        yield name, partial(answer, line)


def contents() -> dict[str, bytes]:
    """What no file of ours contains."""
    return {
        "not UTF-8": b"\xff\xfe\x00",
        "a NUL": b"a = \0",
        "an open quote": b'a = "',
        "an open table": b"[",
        "deep": b"a = " + b"[" * 100_000,
        "a large number": b"a = " + b"9" * 5_000,
        "twice": b"a = 1\na = 2",
        "another type": b"[defaults]\nzones = {}\nhandler = 7\n",
        "an unknown key": b"[defaults]\nnope = 1\nhandlr = 'x'\n",
        "much": b"# comment\n" * 300_000,
        "binary": bytes(range(256)) * 8,
    }


SPECIAL = ("a folder", "a pipe", "a dangling link", "a loop", "a device")


def special_files(folder: Path) -> dict[str, Path]:
    """Names where no regular file can be read."""
    made = {
        name: folder / f"special-{name}" for name in ("a folder", "a pipe", "a dangling link", "a loop", "a device")
    }
    made["a folder"].mkdir()
    os.mkfifo(made["a pipe"])
    made["a dangling link"].symlink_to(folder / "nothing")
    made["a loop"].symlink_to(made["a loop"])
    made["a device"].symlink_to("/dev/zero")
    return made


def files(folder: Path) -> Iterator[Case]:
    """Settings, functions, base pins, price lists, state machines, transactions and results."""
    from pipeline.assembly.sources import find_sources
    from pipeline.bases.pins import pinned_base
    from pipeline.core.errors import PipelineError
    from pipeline.environment.configuration import read_choices
    from pipeline.transactions.prices import Prices
    from pipeline.transactions.results_file import Origin, open_results
    from tests.unit.test_readers import PLATFORM

    def function(path: Path) -> None:
        place = folder / "images" / "one"
        place.mkdir(parents=True, exist_ok=True)
        (place / "function.toml").unlink(missing_ok=True)
        (place / "function.toml").symlink_to(path)
        find_sources(folder / "images")

    def results(path: Path) -> None:
        with open_results(path, Origin("local/1", "arn")):
            pass

    readers: dict[str, Callable[[Path], object]] = {
        "environments.toml": lambda path: read_choices(path, "dev"),
        "bases.toml": lambda path: pinned_base(PLATFORM, path),
        "prices.toml": Prices.load,
        "function.toml": function,
        "results": results,
    }
    special = special_files(folder)
    for name, reader in readers.items():
        for number, (what, content) in enumerate(contents().items()):
            path = folder / f"{number}-{name}"
            path.write_bytes(content)
            yield f"{name}: {what}", partial(refusal, PipelineError, partial(reader, path))
        for what, path in special.items():
            if (name, what) != ("results", "a dangling link"):  # is created
                yield f"{name}: {what}", partial(refusal, PipelineError, partial(reader, path))
    yield from transaction_files(folder, special)


def transaction_files(folder: Path, special: dict[str, Path]) -> Iterator[Case]:
    from pipeline.core.errors import PipelineError
    from pipeline.transactions.transaction_lines import read_lines

    def read(path: Path) -> str:
        """The first malformed line, which is reported with its reason, or why the file is refused."""
        whys: list[str] = []
        said = refusal(PipelineError, lambda: whys.extend(line.why for line in read_lines(path) if line.why))
        return said or (whys[0] if whys else "")

    header = b"transaction_id,amount\n"
    malformed: dict[str, bytes] = {
        "without a line end.jsonl": b"{" + b" " * 2_000_000,
        "deep.jsonl": b"[" * 500_000,
        "not UTF-8.jsonl": b'{"a": "\xff"}',
        "NaN.jsonl": b'{"a": NaN}',
        "twice.jsonl": b'{"a": 1, "a": 2}',
        "half a pair.jsonl": b'{"a": "\\ud800"}',
        "two.jsonl": b"{}{}",
        "large number.jsonl": b"9" * 100_000,
        "NUL.jsonl": b"\0" * 1000,
        "binary.ndjson": bytes(range(256)),
        "comma.jsonl": b'{"a": 1,}',
        "infinity.jsonl": b'{"a": 1e999}',
        "quote.jsonl": b'{"a": "',
        "NUL.csv": b"\0" * 1000,
        "empty.csv": b"",
        "no id.csv": b"amount\n1\n",
        "twice.csv": b"transaction_id,transaction_id\n",
        "million columns.csv": b"a," * 1_000_000,
        "few cells.csv": header + b"1\n",
        "cells.csv": header + b"1," * 400_000,
        "open quote.csv": header + b'"' + b"x" * 2_000_000,
        "open quote over lines.csv": header + b'"\n' + b"x\n" * 200_000,
        "row without end.csv": header + b'"a\n' + b'b","c\n' * 400_000,
        "quotes.csv": header + b'1,"a"b\n',
        "not UTF-8.csv": header + b"1,\xff\n",
        "long line.csv": header + b"1," + b"x" * 3_000_000,
        "name.txt": b"",
        "name": b"",
        "carriage returns.csv": header + b"1,2\r3\r\r4,5,6\n",
        "a long cell.csv": header + b"1," + b"x" * 200_000 + b"\n",
    }
    for name, content in malformed.items():
        path = folder / name
        path.write_bytes(content)
        yield f"transactions: {name}", partial(read, path)
    for ending in ("jsonl", "csv"):
        path = folder / f"a hole.{ending}"
        with path.open("wb") as file:
            file.truncate(900 << 20)  # one line of 900 MB
        yield f"transactions: {path.name}", partial(read, path)
        for what, place in special.items():
            named = folder / f"{what}.{ending}"
            named.symlink_to(place)
            yield f"transactions: {named.name}", partial(read, path)


def transactions(_folder: Path) -> Iterator[Case]:
    """Each field with each hostile value, as validation reads it, and JSON that is no transaction."""
    from pipeline.core.errors import PipelineError
    from pipeline.transactions.submit import parse_transaction
    from tests.unit.images.loading import transaction  # isort: skip, it makes the functions' code importable
    from transactions.transaction import Transaction, read_transaction  # isort: skip

    def faults(document: object) -> str:
        read = read_transaction(document)
        return "" if isinstance(read, Transaction) else "; ".join(f"{each.field}: {each.message}" for each in read)

    # Two values are right for a name, which may hold anything that can be printed.
    fine = {"format", "path", "quote", "null"}
    fields = ("transaction_id", "amount", "currency", "merchant_id", "customer_id", "merchant_country", "occurred_at")
    for name, (what, value) in itertools.product(fields, TEXTS.items()):
        if (name, what) == ("amount", "number"):
            continue
        if what not in fine or name not in (
            "merchant_id",
            "customer_id",
            "transaction_id",
            "merchant_country",
            "occurred_at",
        ):
            document = {**transaction(), name: value}
            yield f"{name} is {what}", partial(faults, document)
    for what, value in TEXTS.items():
        yield f"a transaction that is {what}", partial(faults, value)
        yield f"an unknown field {what}", partial(faults, {**transaction(), f"x{TEXTS[what]}"[:100_000]: 1})
    amounts = (
        "1e400", "-1", "0", "NaN", "Infinity", "1,000.00", "1_000", "٣", "0x10", "1.001", "9" * 41, "9" * 41 + ".99",
        "--1",
        "+1",
        "1e-400", ".", "1.", "１", "1 ", "1\n", "1e5e5", "-0", "1/2",
    )  # fmt: skip
    for amount in amounts:
        yield f"the amount {amount[:20]!a}", partial(faults, {**transaction(), "amount": amount})
    texts = (
        "", " ", "{", "{'a': 1}", "[1,]", "nul", "NaN", "Infinity", '{"a": 1e400}', '{"a": 1, "a": 2}', "9" * 5000,
        '{"a": "\\ud800"}', "[" * 100_000, '{"a":' * 100_000, "\ufeff{", "{}{}", "{} x", '"\t"', "\0", "undefined",
        "0123",
        "+1",
        "1.", ".5", "'text'", "{a: 1}", "// comment", "{} // comment", "<xml/>", '{"a" 1}', '{"a": }', "[}", "{]",
        "\x1b[2J",
    )  # fmt: skip
    for text in texts:
        yield f"the text {text[:20]!a}", partial(refusal, PipelineError, partial(parse_transaction, text))


def images(_folder: Path) -> Iterator[Case]:
    """Layers, manifests, configs and indexes, as ``check`` and ``build --base`` read them."""
    from pipeline.assembly.check import find_findings
    from pipeline.assembly.facts.layer_facts import read_facts
    from pipeline.core.errors import PipelineError
    from pipeline.oci.archive import Archive, Judge
    from pipeline.oci.layout import parse_descriptor
    from pipeline.oci.values import OCI_MANIFEST, Digest, ImageReference, Manifest
    from tests.unit.oci.test_archive import END, HOSTILE, UNSAFE, header
    from tests.unit.test_readers import CONFIG, DESCRIPTOR, MANIFEST, PLATFORM

    def layer(archive: bytes) -> str:
        facts = read_facts(lambda: io.BytesIO(archive))
        return facts.broken or "; ".join(f"{kind}: {example}" for kind, (_, example) in facts.problems.items())

    def unpacked(archive: bytes) -> str:
        entries, judge = Archive(io.BytesIO(archive).read), Judge()
        return next((said for entry in entries if (said := judge.unsafe(entry))), "")

    def findings(manifest: Any, config: Any) -> str:
        read = Manifest(json.dumps(manifest).encode(), OCI_MANIFEST)
        found = find_findings(read, json.dumps(config).encode(), [None] * 4, PLATFORM)
        return "; ".join(finding.message for finding in found)

    def described(manifest: bytes) -> str:
        found = find_findings(Manifest(manifest, OCI_MANIFEST), json.dumps(CONFIG).encode(), [None] * 4, PLATFORM)
        return "; ".join(finding.message for finding in found)

    for name, archive in HOSTILE.items():
        packed = gzip.compress(archive, 1)
        yield f"a layer: {name}", partial(layer, packed)
        yield f"a truncated layer: {name}", partial(layer, packed[: len(packed) // 2])
    for name, (archive, _) in UNSAFE.items():
        packed = gzip.compress(archive + END)
        yield f"a layer: {name}", partial(layer, packed)
        yield f"an entry: {name}", partial(unpacked, archive + END)
    for kind, path in itertools.product(
        (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE),
        (
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "./../x",
            "a/b/../../../x",
            ".wh..",
            "a/.wh..",
            "a/.wh.",
        ),
    ):
        archive = header(path, kind, linkname="a") + END
        yield f"an entry {path!a} of type {kind!a}", partial(unpacked, archive)
    for name, value in TEXTS.items():
        if name != "null":
            yield f"a manifest that is {name}", partial(findings, value, CONFIG)
        for key in ("config", "layers"):
            yield f"{key} is {name}", partial(findings, {**MANIFEST, key: value}, CONFIG)
        for key in ("architecture", "os", "rootfs"):
            yield f"{key} is {name}", partial(findings, MANIFEST, {**CONFIG, key: value})
        for key in ("mediaType", "digest", "size"):
            if (key, name) != ("size", "number") and not (key == "mediaType" and isinstance(value, str)):
                document = {**DESCRIPTOR, key: value}
                yield (
                    f"a descriptor's {key} is {name}",
                    partial(refusal, (PipelineError, ValueError), partial(parse_descriptor, document)),
                )
        if isinstance(value, str):
            yield f"a digest {name}", partial(refusal, ValueError, partial(Digest.parse, value))
            yield f"a reference {name}", partial(refusal, ValueError, partial(ImageReference.parse, value))
    for name, content in contents().items():
        yield f"a manifest: {name}", partial(described, content)


def events(_folder: Path) -> Iterator[Case]:
    """What each function is given that no state machine sends, and what ``invoke`` is given that is no event."""
    from tests.unit.images.loading import FUNCTIONS, context, load_handler, transaction  # isort: skip
    from transactions.invocation import InvocationError  # isort: skip

    logging.disable(logging.CRITICAL)
    received = "2026-11-23T14:00:00.000Z"
    for function in FUNCTIONS:
        handle = load_handler(function).handle

        def answer(event: object, handle: Callable[..., Any] = handle, function: str = function) -> str:
            said: list[Any] = []
            with contextlib.redirect_stdout(io.StringIO()):  # metrics
                refused = refusal(InvocationError, lambda: said.append(handle(event, context(function))))
            return refused or ("; ".join(each["message"] for each in said[0].get("faults", ())))

        for name, value in TEXTS.items():
            yield f"{function}: an event that is {name}", partial(answer, value)
            event = {"transaction": value, "received_at": received}
            yield f"{function}: a transaction that is {name}", partial(answer, event)
            event = {"transaction": transaction(), "received_at": value}
            yield f"{function}: received_at is {name}", partial(answer, event)
            event = {"transaction": {**transaction(), "currency": value}, "received_at": received}
            yield f"{function}: the currency is {name}", partial(answer, event)


KINDS = (arguments, files, transactions, images, events)


def judged(name: str, case: Callable[[], str]) -> str:
    """What is wrong with an input's outcome, or ""."""
    started, before = time.monotonic(), peak()
    try:
        said = case()
    except BaseException as error:  # noqa: BLE001 - whatever it is, a user would have seen it
        return f"{name}: {type(error).__name__}: {error!s:.200}"
    if not said.strip():
        return f"{name}: accepted"
    if len(said) > TEXT:
        return f"{name}: an explanation of {len(said):,} characters"
    if seconds := max(0.0, time.monotonic() - started - SECONDS):
        return f"{name}: {SECONDS + seconds:.1f} s"
    return f"{name}: {peak() >> 20} MB" if peak() > max(before, MEMORY) else ""


def peak() -> int:
    """The most memory that this process has used, in bytes; getrusage also counts what its parent had at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        for kind in KINDS:
            folder = Path(temporary) / kind.__name__
            folder.mkdir()
            started = time.monotonic()
            for name, case in kind(folder):
                counts[kind.__name__] += 1
                if found := judged(name, case):
                    wrong.append(f"{kind.__name__}: {found}")
            say(f"{kind.__name__:<13}{counts[kind.__name__]:>6} in {time.monotonic() - started:.1f} s")
    say(f"{counts.total()} inputs, {counts.total() - len(wrong)} explained; at most {peak() >> 20} MB")
    for each in wrong:
        say(each)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
