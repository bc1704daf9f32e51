"""``verify-workflow``: explore every path of a state machine and of its mutations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.context import Context, Outcome
from commands.declared import FilePath, command, file, flag
from pipeline.core.errors import VerificationError

if TYPE_CHECKING:
    from pipeline.verification.proof import Proof


# The largest definition (Step Functions quotas).
_DEFINITION_MAX = 1024 * 1024


@command(
    "Explore every path of a state machine.",
    click.Argument(
        ["definition"],
        metavar="[DEFINITION]",
        required=False,
        type=FilePath(exists=True, dir_okay=False, path_type=Path),
    ),
    click.Option(
        ["--executions"],
        type=click.IntRange(1, 4),
        default=3,
        show_default=True,
        help="Concurrent executions of one id.",
    ),
    click.Option(
        ["--faults"], type=click.IntRange(0, 4), default=2, show_default=True, help="Errors among all executions."
    ),
    file(
        "--input", "For another DEFINITION: a file with its input, instead of any input.", exists=True, names=("given",)
    ),
    flag("--mutations", "Mutate the definition and show what refutes each mutation."),
    file("--svg", "Draw the state machine, with the path of the first counterexample.", names=("picture",)),
)
def verify_workflow(
    context: Context,
    *,
    definition: Path | None,
    executions: int,
    faults: int,
    given: Path | None,
    mutations: bool,
    picture: Path | None,
) -> Outcome:
    """Prove or refute the properties of a state machine by exploring every path of its definition.

    Without DEFINITION, the project's workflow is explored. Of the transaction workflow, every interleaving of
    executions of one id, with every task error, lost responses, late writes and crashes at any point. DEFINITION is any
    document in the Amazon States Language. A workflow that does not claim and decide ids is explored as one execution
    with unknown data. Exit code 1 if a property is refuted; its shortest counterexample is printed.
    """
    from pipeline.verification import report
    from pipeline.verification.proof import verify

    machine = _read(definition) if definition else _composed(context)
    if mutations:
        return _judge_mutations(context, machine)
    inputs = [_read(given)] if given else []
    proof = verify(machine, executions=executions, faults=faults, inputs=inputs, report=context.report)
    result, text = report.document(proof), report.text(proof)
    if picture is not None:
        _draw(proof, machine, picture)
        result["picture"] = str(picture)
        text += f"\n\nIt is drawn in {picture}"
    return Outcome(result, text, 1 if proof.refuted else 0)


def _judge_mutations(context: Context, machine: dict[str, Any]) -> Outcome:
    from pipeline.core.events import step
    from pipeline.verification.mutations import judge

    result, lines = [], []
    with step(context.report, "judge", "mutations"):
        for verdict in judge(machine):
            result.append({"mutation": verdict.mutation.name, "refuted_by": verdict.refuted_by or None})
            lines.append(f"{verdict.mutation.name:58} {verdict.refuted_by or 'NOT REFUTED'}")
    missed = [each["mutation"] for each in result if each["refuted_by"] is None]
    lines.append(f"{len(result) - len(missed)} of {len(result)} mutations are refuted")
    return Outcome({"mutations": result}, "\n".join(lines), 1 if missed else 0)


def _composed(context: Context) -> dict[str, Any]:
    """The state machine of the synthesised template."""
    context.require_workflow("the workflow was not verified")
    from pipeline.core.files import cache_folder
    from pipeline.environment.synth import synthesise
    from pipeline.transactions.ways import read_definition

    templates = synthesise(context.settings, [source.definition for source in context.sources], cache_folder())
    return read_definition(json.loads(templates.pipeline))


def _read(path: Path) -> Any:
    from pipeline.core.documents import parse_json
    from pipeline.core.files import read_regular

    try:
        return parse_json(read_regular(path, _DEFINITION_MAX))
    except (ValueError, OSError) as error:
        raise VerificationError(
            "the workflow was not verified", f"{path} is not JSON: {error}", "Pass a JSON document."
        ) from error


def _draw(proof: Proof, machine: dict[str, Any], picture: Path) -> None:
    from pipeline.core.files import storing, write_atomically
    from pipeline.transactions.any_drawing import draw_any
    from pipeline.transactions.drawing import draw
    from pipeline.verification import report

    way, title = [], ""
    if proof.counterexamples:
        example = proof.counterexamples[0]
        way, title = [*report.way(example)], example.violation.promise
    with storing(picture, "name another file"):
        write_atomically(picture, (draw if proof.promised else draw_any)(machine, way, title).encode())
