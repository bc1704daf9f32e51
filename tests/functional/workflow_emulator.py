"""The embedded AWS with faults on command, in a process of its own: the workflow's adversary.

    python -m tests.functional.workflow_emulator --socket FD --control FD

It is ``pipeline.local.emulator.server`` with three additions around the state machine's tasks, which ministack runs
inside its own process: each task is held against the machine's role, as AWS does; each may fail before or after it
took effect, be slow, or take the whole execution down; and the three functions answer what the transaction tells them
to.

The control socket takes one JSON document per line and answers each with one:
{"faults": [...]} replaces the faults that are due, {"trace": true} gives and forgets what ran, {"surface": true} ends
every visibility timeout.
"""

from __future__ import annotations

import argparse
import contextvars
import json
import socket
import sys
import threading
import time
from typing import Any

from pipeline.local.emulator.patches.patch import Patch

_task: contextvars.ContextVar[tuple[str, dict[str, Any]]] = contextvars.ContextVar("task")


class Died(BaseException):
    """The execution's process is gone: no Catch, no further state."""


class Adversary:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.faults: list[dict[str, Any]] = []
        self.trace: list[dict[str, Any]] = []

    def next_fault(self, state: str, execution: str) -> dict[str, Any] | None:
        with self.lock:
            for fault in self.faults:
                if fault["state"] == state and fault.get("execution", execution) == execution and fault["times"] > 0:
                    fault["times"] -= 1
                    return fault
        return None

    def note(self, **what: Any) -> None:
        with self.lock:
            self.trace.append(what)

    def serve(self, control: socket.socket) -> None:
        for line in control.makefile("r"):
            command, reply = json.loads(line), {}
            with self.lock:
                if "faults" in command:
                    self.faults = command["faults"]
                if command.get("trace"):
                    reply = {"trace": self.trace}
                    self.trace = []
            if command.get("surface"):
                self.surface()
            control.sendall(json.dumps(reply).encode() + b"\n")

    def surface(self) -> None:
        from ministack.services import sqs

        for queue in sqs._queues.values():
            for message in queue["messages"]:
                message["visible_at"] = 0.0


def answer(function: str, event: dict[str, Any]) -> Any:
    """What the three functions answer; a transaction tells what it wants to hear in its own fields."""
    transaction = event["transaction"]
    who = {"image": f"sha256:{function}", "rules": "2026-11-01"}
    if transaction.get("garbage") == function:
        return {"nonsense": True, **who}
    if transaction.get("huge") == function:
        return {"nonsense": "x" * 300_000, **who}
    if function == "transaction-validation":
        faults = [
            {"field": name, "code": "missing", "message": f"{name} is missing"}
            for name in ("transaction_id", "amount", "currency")
            if name not in transaction
        ]
        if not isinstance(transaction.get("customer_id", ""), str):
            faults.append({"field": "customer_id", "code": "type", "message": "customer_id is a string"})
        if isinstance(transaction.get("amount"), bool):
            faults.append({"field": "amount", "code": "not-an-amount", "message": "amount is a decimal"})
        if not isinstance(transaction.get("transaction_id", ""), str):
            faults.append({"field": "transaction_id", "code": "not-an-id", "message": "transaction_id is a string"})
        # As the real one: what is canonical has a customer.
        customer = str(transaction.get("customer_id") or "c-0")
        return {"valid": not faults, "transaction": {**transaction, "customer_id": customer}, "faults": faults, **who}
    if function == "fraud-detection":
        score = transaction.get("score", 0)
        reasons = [{"rule": "told", "points": score, "message": f"score {score}"}] if score else []
        if transaction.get("show") == "history":
            reasons.append({"rule": "history", "points": 0, "message": json.dumps(event["history"])})
        return {"score": score, "reasons": reasons, **who}
    findings = [{"rule": "told", "action": action, "message": action} for action in transaction.get("findings", [])]
    return {"compliant": "BLOCK" not in transaction.get("findings", []), "findings": findings, **who}


def permission(resource: str, arguments: dict[str, Any], account: str, region: str) -> tuple[str, str]:
    """The IAM action and resource of a task's call."""
    service, action = resource.split(":")[-2:]
    match service:
        case "dynamodb":
            index = f"/index/{arguments['IndexName']}" if "IndexName" in arguments else ""
            return (
                f"dynamodb:{action[0].upper()}{action[1:]}",
                f"arn:aws:dynamodb:{region}:{account}:table/{arguments['TableName']}{index}",
            )
        case "secretsmanager":
            return "secretsmanager:GetSecretValue", arguments["SecretId"]
        case "sfn":
            named = arguments.get("StateMachineArn") or arguments["MapRunArn"]
            return f"states:{action[0].upper()}{action[1:]}", named
        case "sns":
            return "sns:Publish", arguments["TopicArn"]
        case "sqs":
            return "sqs:SendMessage", f"arn:aws:sqs:{region}:{account}:{arguments['QueueUrl'].rpartition('/')[2]}"
        case _:
            return "lambda:InvokeFunction", arguments["FunctionName"]


def fault_patches(adversary: Adversary) -> tuple[Patch, ...]:
    """The rows that put the adversary between ministack's state machines and their tasks."""
    from ministack.core import iam_evaluator
    from ministack.core.responses import get_account_id, get_region

    def execute(execute_task: Any, _: Any) -> Any:
        def _execute_task(state: dict[str, Any], given: Any, execution: dict[str, Any], ctx: dict[str, Any]) -> Any:
            function = str(state.get("Arguments", {}).get("FunctionName", ""))
            name = next((task for part, task in _BRANCHES.items() if part in function), ctx["State"]["Name"])
            _task.set((name, execution))
            try:
                return execute_task(state, given, execution, ctx)
            except Died:
                raise RuntimeError("the execution died") from None

        return _execute_task

    def invoke(invoke_resource: Any, machines: Any) -> Any:
        def _invoke_resource(resource: str, arguments: dict[str, Any]) -> Any:
            state, execution = _task.get()
            role = machines._state_machines[execution["stateMachineArn"].partition("/")[0]]["roleArn"]
            action, target = permission(resource, arguments, get_account_id(), get_region())
            allowed = iam_evaluator.evaluate(
                iam_evaluator.EvalContext(role, "AssumedRole", get_account_id(), action, target, get_region()),
                iam_evaluator._gather_role_policies(role.rpartition("/")[2], get_account_id()),
            )
            adversary.note(execution=execution["name"], state=state, action=action, allowed=allowed.decision == "Allow")
            if allowed.decision != "Allow":
                raise machines._ExecutionError("AccessDeniedException", f"{role} may not {action} on {target}")
            fault = adversary.next_fault(state, execution["name"])
            if fault is None:
                return invoke_resource(resource, arguments)
            if fault["when"] == "before":
                raise machines._ExecutionError(fault["error"], "on command")
            if fault["when"] == "die":
                raise Died
            time.sleep(fault.get("seconds", 0))
            if fault["when"] == "hang":  # and nothing of it reaches the table when others use it
                raise Died
            result = invoke_resource(resource, arguments)
            if fault["when"] == "after":
                raise machines._ExecutionError(fault["error"], "on command")
            if fault["when"] == "die-after":
                raise Died
            return result

        return _invoke_resource

    def call(_original: Any, machines: Any) -> Any:
        def _call_lambda(function: str, event: dict[str, Any]) -> Any:
            result = answer(function.rpartition(":")[2].rpartition("-")[0], event)
            if len(json.dumps(result)) > 262_144:
                raise machines._ExecutionError("States.DataLimitExceeded", "the result is larger than a state")
            return result

        return _call_lambda

    why = ("never fails on command", "fails in these ways", "D Step Functions developer guide, Handling errors")
    return (
        Patch(
            "services.stepfunctions:_execute_task",
            "53c818d247dba62c",
            *why,
            execute,
        ),
        Patch(
            "services.stepfunctions:_invoke_resource",
            "a85d2be9a8584ce0",
            *why,
            invoke,
        ),
        Patch(
            "services.stepfunctions:_call_lambda",
            "25830369b12636da",
            *why,
            call,
        ),
    )


_BRANCHES = {"fraud-detection": "FraudDetection", "compliance-checking": "Compliance"}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--control", type=int, required=True)
    chosen = parser.parse_args()
    from pipeline.local.emulator import server as emulator

    adversary = Adversary()
    control = socket.socket(fileno=chosen.control)
    threading.Thread(target=adversary.serve, args=(control,), daemon=True).start()
    return emulator.main(["--socket", str(chosen.socket)], fault_patches(adversary), durable=False)


if __name__ == "__main__":
    sys.exit(main())
