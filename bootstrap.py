#!/usr/bin/env python3
"""The command line as a process. The only module that prints and exits.

Progress goes to stderr, the result to stdout; with --json the result is one JSON document. Exit codes: 0 done,
1 a failure that is explained, 2 wrong usage or, for ``plan``, a difference.
"""

from __future__ import annotations

import signal

# Until a command runs there is nothing to clean up: Ctrl-C ends the process at once.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

try:
    import os
    import sys
    from pathlib import Path

    ROOT = Path(__file__).resolve().parent
    # Replace the system's Python with that of the project's virtual environment, so that ./bootstrap.py works anywhere.
    _PYTHON = ROOT / ".venv" / "bin" / "python"
    if __name__ == "__main__" and sys.prefix == sys.base_prefix and _PYTHON.exists():
        os.execv(_PYTHON, [str(_PYTHON), str(ROOT / "bootstrap.py"), *sys.argv[1:]])
    if str(ROOT) not in sys.path:  # with PYTHONSAFEPATH Python leaves it out
        sys.path.insert(0, str(ROOT))

    import json
    import select
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import contextmanager, nullcontext
    from dataclasses import dataclass
    from typing import Any

    import click
    import msgspec  # noqa: F401  (fails if the locked packages are not installed)

    from commands import VERSION
    from commands.context import Console, Context
    from commands.declared import Choices, Command
    from commands.display import JsonLines, LateView, PlainLines
    from commands.log_lines import wants_colour
    from commands.next_steps import error_document, program_name
    from commands.usage import Commands, writing
    from pipeline.core import interruption
    from pipeline.core.errors import PipelineError, StorageError
    from pipeline.core.events import Report
    from pipeline.core.surroundings import exhausted, raise_open_files, require_time_zone
except ModuleNotFoundError as missing:
    if missing.name not in ("click", "msgspec"):
        raise
    sys.exit("error: the project's environment does not exist yet. Create it and deploy with: make up")


@dataclass(frozen=True, slots=True)
class Output:
    """How the result is printed, and whether events are too. drawn: progress may be redrawn in place."""

    as_json: bool
    events: bool
    drawn: bool = True

    def document(self, value: Mapping[str, Any]) -> str:
        """The value as JSON: one line where events are lines, too."""
        return json.dumps(value, indent=None if self.events else 2)


def run(command: Command[Any], choices: Choices) -> None:
    """Run a command, print its outcome or its error, and exit."""
    output = Output(choices.as_json or choices.events, choices.events, command.drawn)
    context = Context(
        choices.environment,
        choices.target,
        choices.region,
        project=choices.project,
        console=console(output),
        **choices.context,
    )
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with progress(f"{command.name} {choices.environment} on {choices.target}", output) as report:
            require_time_zone()
            context.report = report
            context.ask = asker(report)
            with interruption.limit(choices.timeout):
                outcome = command.function(context, **choices.own)
    except PipelineError as error:
        report_error(context, output, error)
        sys.exit(1)
    except interruption.OutOfTime:
        what, why = f"{command.name} was not finished", f"it took longer than --timeout {choices.timeout}"
        cure = "Every step is safe to repeat: run the same command again, or with a longer --timeout."
        report_error(context, output, PipelineError(what, why, cure))
        sys.stdout.flush()
        os._exit(1)  # as after Ctrl-C
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        if (limit := exhausted(error)) is None:
            raise
        report_error(context, output, limit)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("stopped. Every step is safe to repeat: run the same command again to continue.", err=True)
        sys.stdout.flush()
        os._exit(130)  # sys.exit would wait for threads that wait for AWS
    text = output.document(outcome.result) if output.as_json else outcome.text
    if text:
        write_result(text)
    sys.exit(outcome.exit_code)


def report_error(context: Context, output: Output, error: PipelineError) -> None:
    """Print an error, as JSON to stdout or for people to stderr."""
    document = error_document(context, error)
    if output.as_json:
        write_result(output.document(document))
    else:
        say_error(error.what, error.why, document["next_step"])


def console(output: Output) -> Console:
    """The console for lines that a command prints while it runs."""
    colour = wants_colour(sys.stdout.isatty())
    return Console(
        write=lambda line: click.echo(line, color=colour),
        tell=lambda line: click.echo(line, err=True),
        as_json=output.as_json,
        colour=colour,
    )


def say_error(what: str, why: str, next_step: str) -> None:
    """Print an error for people."""
    click.echo(f"error: {what}\n  why:  {why}\n  next: {next_step}", err=True)


def write_result(text: str) -> None:
    """Print to stdout. Raises StorageError if that fails."""
    with writing():
        # Input may contain a lone surrogate, which UTF-8 cannot encode.
        click.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))


@contextmanager
def progress(title: str, output: Output) -> Iterator[Report]:
    """Show progress: redrawn in place on a terminal, plain lines elsewhere, JSON lines with --events."""
    if output.events:
        yield JsonLines(click.echo)
    elif output.drawn and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from pipeline.core.files import cache_folder

        with LateView(title, lambda line: click.echo(line, err=True), cache_folder() / "timings.json") as view:
            yield view
    else:
        yield PlainLines(lambda line: click.echo(line, err=True))


def asker(report: Report) -> Callable[[str], str] | None:
    """A function that asks the user a question; None without a terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str) -> str:
        with report.paused() if isinstance(report, LateView) else nullcontext():
            click.echo(f"{question}: ", nl=False, err=True)
            return typed_line()

    return ask


def typed_line() -> str:
    """A line typed at the terminal, "" at its end. Raises KeyboardInterrupt in any thread."""
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        interruption.check()
    line = sys.stdin.readline()
    if not line:
        click.echo(err=True)
    return line.rstrip("\n")


PROGRAM = program_name()

main = Commands(
    name=PROGRAM,
    run=run,
    write=write_result,
    help="Deploy container-image Lambda functions in two phases, so that no deployment fails for a missing image.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[],
)
click.version_option(VERSION, prog_name=PROGRAM)(main)


def program() -> None:
    """``main`` as a process."""
    open_streams()
    raise_open_files()
    try:
        main()
    except StorageError as error:  # stdout cannot be written, such as a file on a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or flushing the buffer at exit fails again
        say_error(error.what, error.why, str(error.next_step))
        sys.exit(1)


def open_streams() -> None:
    """Open /dev/null for standard streams that are closed, as with ``<&-``: the next file would take their number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        name, mode = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[number]
        setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
    os.close(number)


if __name__ == "__main__":
    program()
