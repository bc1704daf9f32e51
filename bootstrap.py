#!/usr/bin/env python3
"""The command line: arguments in, one result out. The only module that prints and exits.

Progress goes to stderr, the result to stdout; with --json the result is one JSON document. Exit codes: 0 done,
1 a failure that is explained, 2 wrong usage or, for ``plan``, a difference.
"""

from __future__ import annotations

# Not signal itself, whose import takes long enough to press Ctrl-C in.
import _signal  # type: ignore[import-not-found]
import gc
import os
import sys

if __name__ == "__main__" and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    # Before a command begins nothing is under way that could be told of.
    _signal.signal(_signal.SIGINT, lambda *_: os._exit(130))

from pathlib import Path

ROOT = Path(__file__).resolve().parent

# Called with the system's Python: the project's own environment takes over, so ./bootstrap.py works in any shell.
_PYTHON = ROOT / ".venv" / "bin" / "python"
if __name__ == "__main__" and sys.prefix == sys.base_prefix and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), str(Path(__file__).resolve()), *sys.argv[1:]])

# What a command makes lives as long as the command; to look for garbage after every 700 objects costs a tenth of it.
gc.set_threshold(500_000)

if __name__ == "__main__" and sys.dont_write_bytecode and sys.pycache_prefix is None:
    # Byte code that must not lie beside its source is kept in the cache, also for the processes that this one starts:
    # to compile everything anew takes longer than most commands.
    from pipeline.core.files import cache_folder

    sys.dont_write_bytecode, sys.pycache_prefix = False, str(cache_folder() / "byte-code")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

import json
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

try:
    import click
    import msgspec  # noqa: F401  (stands for all that the lock brings)
except ModuleNotFoundError:
    sys.exit("error: the project's environment is not there yet. Make it and deploy with: make up")

from commands.context import Context, Outcome
from commands.display import JsonLines, LateView, PlainLines
from commands.usage import Commands
from pipeline.core import interruption
from pipeline.core.errors import PipelineError
from pipeline.core.events import Report

Command = Callable[..., Outcome]


@dataclass(frozen=True, slots=True)
class Output:
    """How the result is printed, and whether events are too. drawn: progress may be redrawn in place."""

    as_json: bool
    events: bool
    drawn: bool = True


def shared_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options that every command takes."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
        click.option("--events", is_flag=True, help="With --json: every event as a line of JSON before the result."),
        click.option("--region", metavar="REGION", help="AWS region; default: the profile's, locally us-east-1."),
        click.option("--target", type=click.Choice(["local", "aws"]), default="local", show_default=True),
        click.option("--environment", "-e", metavar="NAME", default="dev", show_default=True),
    ):
        function = option(function)
    return function


def build_options(function: Callable[..., None]) -> Callable[..., None]:
    """What images are built on, and by whom."""
    for option in (
        click.option("--no-sbom", is_flag=True, help="Attach no bill of materials to the images."),
        click.option(
            "--builder",
            type=click.Choice(["layers", "docker"]),
            default="layers",
            show_default=True,
            help="Our own layers without a daemon, or each Dockerfile through an engine.",
        ),
        click.option("--base", metavar="BASE", help="A reference, oci:DIR, docker-daemon:NAME, or empty."),
    ):
        function = option(function)
    return function


def run(
    command: Command, environment: str, target: str, region: str | None, output: Output, /, **arguments: Any
) -> None:
    """Run a command, print its outcome or its error, and exit.

    ``base``, ``builder`` and ``runtime`` among the arguments are the context's; the rest is the command's own.
    """
    chosen = {name: arguments.pop(name) for name in ("base", "builder", "chosen_runtime") if name in arguments}
    context = Context(environment=environment, target_name=target, region=region, root=ROOT, **chosen)
    try:
        if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with progress(f"{command.__name__} {environment} on {target}", output) as report:
            context.report = report
            context.ask = asker(report)
            outcome = command(context, **arguments)
    except PipelineError as error:
        from commands.next_steps import error_document

        document = error_document(context, error)
        if output.as_json:
            click.echo(json.dumps(document, indent=None if output.events else 2))
        else:
            click.echo(f"error: {error.what}\n  why:  {error.why}\n  next: {document['next_step']}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("stopped. Every step is safe to repeat: run the same command again to go on.", err=True)
        if sys.stdout is not None:
            sys.stdout.flush()
        os._exit(130)  # threads that wait for an answer of AWS are not waited for
    text = json.dumps(outcome.result, indent=None if output.events else 2) if output.as_json else outcome.text
    if text:
        write_result(text)
    sys.exit(outcome.exit_code)


def write_result(text: str) -> None:
    """Print the result; when that cannot be, say so and exit with 1."""
    try:
        # Half a surrogate pair, which somebody else may have sent, has no UTF-8.
        click.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))
    except BrokenPipeError:  # whoever reads it has seen enough
        raise
    except OSError as error:
        cure = "Free some space, or send it elsewhere."
        click.echo(f"error: the result was not written\n  why:  {error.strerror}\n  next: {cure}", err=True)
        sys.exit(1)


@contextmanager
def progress(title: str, output: Output) -> Iterator[Report]:
    """How progress looks: redrawn in place on a terminal, plain lines elsewhere, JSON lines with --events."""
    if output.events:
        yield JsonLines(click.echo)
    elif output.drawn and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from pipeline.core.files import cache_folder

        with LateView(title, lambda line: click.echo(line, err=True), cache_folder() / "timings.json") as view:
            yield view
    else:
        yield PlainLines(lambda line: click.echo(line, err=True))


def asker(report: Report) -> Callable[[str], str] | None:
    """How somebody at the terminal is asked; None when nobody is there."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str) -> str:
        with report.paused() if isinstance(report, LateView) else nullcontext():
            click.echo(f"{question}: ", nl=False, err=True)
            return typed_line()

    return ask


def typed_line() -> str:
    """What is typed at the terminal, or "" when its end is. Ctrl-C is heard by the thread that asks, too."""
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        interruption.check()
    line = sys.stdin.readline()
    if not line:
        click.echo(err=True)
    return line.rstrip("\n")


@click.group(
    cls=Commands, write=write_result, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option("0.1.0", prog_name="bootstrap.py")
def main() -> None:
    """Container-image Lambda functions that deploy in two phases and never meet a missing image."""


@main.command(short_help="Deploy everything: both phases.")
@shared_options
@build_options
@click.option(
    "--runtime",
    type=click.Choice(["process", "docker"]),
    help="What runs the functions locally: processes of this machine, or containers.",
)
@click.option("--no-smoke", is_flag=True, help="Do not submit a sample transaction at the end.")
@click.option("--skip-doctor", is_flag=True, help="On AWS, do not look at the account before anything is changed.")
@click.option("--yes", is_flag=True, help="Do not ask before a resource is replaced or deleted.")
def up(**options: Any) -> None:
    """Both phases: repositories and placeholders, then the built images, then the functions switched to them."""
    from commands import releasing

    run(
        releasing.up,
        *shared(options),
        base=options["base"],
        builder=options["builder"],
        chosen_runtime=options["runtime"],
        smoke=not options["no_smoke"],
        sbom=not options["no_sbom"],
        skip_doctor=options["skip_doctor"],
        yes=options["yes"],
    )


@main.command(short_help="Both stacks, building nothing.")
@shared_options
@click.option("--yes", is_flag=True, help="Do not ask before a resource is replaced or deleted.")
def infra(**options: Any) -> None:
    """Both stacks, with every function on the image it has, or on its placeholder. Builds nothing."""
    from commands import releasing

    run(releasing.infra, *shared(options), yes=options["yes"])


@main.command(short_help="Build and check the images.")
@shared_options
@build_options
@click.option("--update-base", is_flag=True, help="First pin what the base's tag names today.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Write the images as an OCI layout.")
def build(**options: Any) -> None:
    """Build and check the images of all functions; pushes nothing."""
    from commands import releasing

    run(
        releasing.build,
        *shared(options),
        base=options["base"],
        builder=options["builder"],
        output=options["output"],
        sbom=not options["no_sbom"],
        update_base=options["update_base"],
    )


@main.command(short_help="What `up` would change.")
@shared_options
def plan(**options: Any) -> None:
    """What `up` would do to both stacks and every function, changing nothing; exit code 2 for a difference."""
    from commands import history

    run(history.plan, *shared(options))


@main.command(short_help="What was released, newest first.")
@shared_options
def releases(**options: Any) -> None:
    """Every release of the environment, newest first."""
    from commands import history

    run(history.releases, *shared(options))


@main.command(short_help="Back to an earlier release.")
@shared_options
@click.option(
    "--to", type=click.IntRange(min=1), metavar="N", help="The release to go back to; default: the one before."
)
@click.option("--images-only", is_flag=True, help="Leave the template and its parameters as they are.")
@click.option("--yes", is_flag=True, help="Do not ask before a resource is replaced or deleted.")
def rollback(**options: Any) -> None:
    """Switch the stack back to an earlier release in one update; builds and pushes nothing."""
    from commands import history

    chosen = {"to": options["to"], "images_only": options["images_only"], "yes": options["yes"]}
    run(history.rollback, *shared(options), **chosen)


@main.command(short_help="Delete images that nothing needs.")
@shared_options
@click.option("--keep", type=click.IntRange(min=1), default=5, show_default=True, help="Releases whose images stay.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def prune(**options: Any) -> None:
    """Delete images that no function, stack, placeholder or kept release uses."""
    from commands import history

    run(history.prune, *shared(options), keep=options["keep"], dry_run=options["dry_run"])


@main.command(short_help="Submit one transaction, or a file.")
@shared_options
@click.argument("transaction", metavar="{JSON|--file FILE}", required=False)
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Many: .jsonl or .csv.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), help="With --file: what is done, by line.")
@click.option("--workers", type=click.IntRange(1, 256), default=16, show_default=True, help="With --file: at once.")
def submit(**options: Any) -> None:
    """Submit one transaction, as JSON text or - for standard input, or a whole file; print what was answered."""
    from commands import running

    text, path = options["transaction"], options["file"]
    if (text is None) == (path is None):
        raise click.UsageError("Give one transaction as JSON, or a file with --file.")
    if path is not None:
        many = {"path": path, "results": options["results"], "workers": options["workers"]}
        run(running.submit_many, *shared(options), **many)
    run(running.submit, *shared(options), text=sys.stdin.read() if text == "-" else text)


@main.command(short_help="Submit again what was parked.")
@shared_options
@click.option("--dry-run", is_flag=True, help="Only show what is parked, and why.")
@click.option("--id", "transaction_id", metavar="ID", help="Only this transaction.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
def redrive(**options: Any) -> None:
    """Submit again what was parked; a message goes only when its answer is recorded."""
    from commands import running

    names = ("dry_run", "transaction_id", "limit")
    run(running.redrive, *shared(options), **{name: options[name] for name in names})


@main.command(short_help="One transaction's story.")
@shared_options
@click.argument("transaction_id", metavar="ID")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw its way through the state machine.")
def explain(**options: Any) -> None:
    """Tell one transaction's story: its way, when, by which images and rules, and why."""
    from commands import running

    run(running.explain, *shared(options), transaction_id=options["transaction_id"], picture=options["svg"])


@main.command(short_help="What it costs on AWS.")
@shared_options
@click.option("--transactions", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="In a month.")
@click.option("--prices", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another price list.")
def cost(**options: Any) -> None:
    """What a million transactions cost on AWS, and what is there anyway each month."""
    from commands import offline

    run(offline.cost, *shared(options), transactions=options["transactions"], prices=options["prices"])


@main.command(short_help="What stands, and what runs.")
@shared_options
def status(**options: Any) -> None:
    """What stands: both stacks, each function's state, image and whether it is on its placeholder."""
    from commands import running

    run(running.status, *shared(options))


@main.command(short_help="Find what would fail, beforehand.")
@shared_options
@click.option(
    "--policy", is_flag=False, flag_value="all", metavar="[COMMAND]",
    help="Print the least IAM policy for COMMAND, or for every command, and check nothing.",
)  # fmt: skip
def doctor(**options: Any) -> None:
    """Look at the account and the region for what would fail, changing nothing; exit code 1 for an error."""
    from commands import doctor as examining

    if options["policy"] is None:
        run(examining.doctor, *shared(options))
    else:
        run(examining.policy, *shared(options), command=options["policy"])


@main.command(short_help="Write both templates.")
@shared_options
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the two files."
)
def synth(**options: Any) -> None:
    """Write both templates, registry.json and pipeline.json, for any other tool to deploy."""
    from commands import releasing

    run(releasing.synth, *shared(options), out=options["out"])


@main.command(short_help="Hold any image against Lambda's rules.")
@shared_options
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
def check(**options: Any) -> None:
    """Hold any image against Lambda's rules: registry/name:tag, registry/name@sha256:…, a layout as oci:DIR[:NAME]."""
    from commands import offline

    run(offline.check, *shared(options), images=options["images"])


@main.command(short_help="Delete the environment.")
@shared_options
@click.option("--keep-data", is_flag=True, help="Keep the table, the repositories and the logs.")
@click.option("--yes", is_flag=True, help="Do not ask for the environment's name.")
def down(**options: Any) -> None:
    """Delete both stacks of the environment; the embedded AWS stops with its last environment."""
    from commands import releasing

    run(releasing.down, *shared(options), keep_data=options["keep_data"], yes=options["yes"])


@main.command(short_help="Release every saved change.")
@shared_options
@click.option("--base", metavar="BASE", help="A reference, oci:DIR, docker-daemon:NAME, or empty.")
@click.option("--runtime", type=click.Choice(["process", "docker"]), help="What runs the functions locally.")
@click.option(
    "--yes", is_flag=True, help="Do not ask before a resource is replaced or deleted, nor, on AWS, before the start."
)
def watch(**options: Any) -> None:
    """Bring the environment up, then release each change of a function as soon as its file is saved."""
    from commands import watching

    run(
        watching.watch,
        *shared(options, drawn=False),
        base=options["base"],
        chosen_runtime=options["runtime"],
        yes=options["yes"],
    )


@main.command(short_help="What was logged, merged by time.")
@shared_options
@click.option("--follow", "-f", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
@click.option("--function", metavar="NAME", help="Only this function's, or the state-machine's.")
@click.option("--transaction", metavar="ID", help="Only what was logged on the way of this transaction.")
@click.option("--since", metavar="TIME", default="10m", show_default=True, help="How far back, such as 30s, 10m, 2h.")
def logs(**options: Any) -> None:
    """What the functions and the workflow logged, merged by time."""
    from commands import development, log_lines

    output = shared(options, drawn=False)
    colour = log_lines.wants_colour(sys.stdout.isatty())
    run(
        development.logs,
        *output,
        function=options["function"],
        transaction=options["transaction"],
        since=options["since"],
        follow=options["follow"],
        as_json=output[3].as_json,
        colour=colour,
        write=lambda line: click.echo(line, color=colour),
    )


@main.command(short_help="Invoke one function by itself.")
@shared_options
@click.option("--debug", is_flag=True, help="Wait for a debugger, and run without a time limit (local target).")
@click.option("--port", type=click.IntRange(1, 65535), help="For --debug; default: 5678, or a free one.")
@click.argument("function", metavar="FUNCTION")
@click.argument("event", metavar="EVENT", type=click.File("r"))
def invoke(**options: Any) -> None:
    """Invoke one FUNCTION with the event in the file EVENT (- for standard input): its result, log and times."""
    from commands import development

    run(
        development.invoke,
        *shared(options, drawn=False),
        function=options["function"],
        event=options["event"].read(),
        debug=options["debug"],
        port=options["port"],
        tell=lambda line: click.echo(line, err=True),
    )


def shared(options: dict[str, Any], *, drawn: bool = True) -> tuple[str, str, str | None, Output]:
    """The shared options in the order that ``run`` takes them."""
    output = Output(as_json=options["as_json"] or options["events"], events=options["events"], drawn=drawn)
    return options["environment"], options["target"], options["region"], output


def program() -> None:
    """``main`` as a whole process, which ends without taking apart what the kernel frees at once.

    That would take a seventh of a command that changes nothing. Only where nothing is left to be done: an error that
    nobody expected leaves by the usual way.
    """
    try:
        main()
    except KeyboardInterrupt:  # while the result was being written
        os._exit(130)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:  # closed by whoever started us
                    stream.flush()
            except OSError:
                code = code or 1
        os._exit(code)


if __name__ == "__main__":
    program()
