"""Commands that use or look at what stands: submit, status."""

from __future__ import annotations

from typing import Any

from commands.context import Context, Outcome


def submit(context: Context, *, text: str) -> Outcome:
    """One transaction in, its answer out."""
    from pipeline.target import explained
    from pipeline.transactions import submit as submit_transaction

    with explained(context.target_name, "the transaction was not submitted"):
        target = context.running_target()
        answer = submit_transaction(target.client("stepfunctions"), _state_machine(context, target), text)
    lines = [f"{answer.transaction_id or '(no id)'}  {answer.outcome}{'  (given before)' if answer.repeat else ''}"]
    for reason in answer.reasons:
        field = f" {reason['field']}" if reason.get("field") else ""
        lines.append(f"  {reason['source']}/{reason['rule']}{field}: {reason['message']}")
    return Outcome(answer.to_json(), "\n".join(lines))


def status(context: Context) -> Outcome:
    """Both stacks and every function, read only."""
    from cfn.names import image_parameter
    from cfn.placeholder import placeholder_digest
    from pipeline.stacks import read_stack
    from pipeline.target import explained

    with explained(context.target_name, f"the status of {context.environment} was not read"):
        target = context.running_target()
        cloudformation = target.client("cloudformation")
        names = context.names
        stacks = [read_stack(cloudformation, name) for name in (names.registry_stack, names.pipeline_stack)]
        placeholder = placeholder_digest(context.settings.architecture)
        functions = []
        for source in context.sources:
            if stacks[1].status.gone or image_parameter(source.name) not in stacks[1].parameters:
                continue
            functions.append(_function(target.client("lambda"), names.function(source.name), str(placeholder)))
    result = {
        "environment": context.environment,
        "target": context.target_name,
        "stacks": [{"name": stack.name, "status": str(stack.status)} for stack in stacks],
        "functions": functions,
    }
    lines = [f"{stack.name:<40} {stack.status}" for stack in stacks]
    lines += [
        f"{each['name']:<40} {each['state']:<10} {each['digest'][:19]}{'  placeholder' if each['placeholder'] else ''}"
        for each in functions
    ]
    return Outcome(result, "\n".join(lines))


def _function(client: Any, name: str, placeholder: str) -> dict[str, Any]:
    found = client.get_function(FunctionName=name)
    image = found["Code"].get("ResolvedImageUri") or found["Code"]["ImageUri"]
    digest = image.partition("@")[2]
    return {
        "name": name,
        "state": found["Configuration"].get("State", "Active"),
        "image": image,
        "digest": digest,
        "placeholder": digest == placeholder,
    }


def _state_machine(context: Context, target: Any) -> str:
    from pipeline.errors import StackError
    from pipeline.stacks import read_stack

    stack = read_stack(target.client("cloudformation"), context.names.pipeline_stack)
    arn = stack.outputs.get("StateMachineArn")
    if arn is None:
        raise StackError(
            "the transaction was not submitted",
            f"the stack {stack.name} is {stack.status} and has no state machine",
            f"Deploy it: ./bootstrap.py up --environment {context.environment} --target {context.target_name}",
        )
    return arn
