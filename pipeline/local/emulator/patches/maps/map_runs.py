"""A Map Run in ministack: it starts child executions, counts them, writes their results, and can be redriven.

What is kept of a Map Run for its redrive lives as long as the process. After a restart of the embedded AWS an execution
that was running has failed and is not redrivable.
"""

from __future__ import annotations

import contextvars
import copy
import importlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from pipeline.local.emulator.patches.maps.map_items import Batch, ReaderFailed, TooLarge, batches, parse_items
from pipeline.local.emulator.patches.maps.map_results import result_files, transformed
from pipeline.local.emulator.patches.maps.map_run import COUNTERS, UNSUCCESSFUL, Child, MapRun
from pipeline.local.emulator.patches.state_roles import require_permission

# Child executions that run at the same time where MaxConcurrency sets no limit; 10,000 on AWS, threads here.
UNLIMITED = 64
# The longest EXPRESS execution (Step Functions quotas).
EXPRESS_SECONDS = 300
# How often a running Map Run looks whether its execution was stopped.
_LOOK_SECONDS = 0.2


class MapRuns:
    """The Map Runs of this process, by the ARN of the execution that started each. machines: ministack's module."""

    def __init__(self, machines: Any) -> None:
        self._machines = machines
        self._runs: dict[str, MapRun] = {}

    def find(self, execution: Mapping[str, Any]) -> MapRun | None:
        """The Map Run whose failure, or whose abort, ended an execution.

        An execution of a state machine that was deleted and made again can have the ARN of an earlier one.
        """
        run = self._runs.get(execution["executionArn"])
        return run if run is not None and run.execution_started == execution["startDate"] else None

    def run(self, definition: Any, raw_input: Any, effective: Any, iterator: Any, execution: Any, ctx: Any) -> Any:
        """In place of ministack's ``_run_distributed_map``: the output, and the name of the next state."""
        run = self.find(execution)
        state = _State(self._machines, definition, raw_input, effective, iterator, execution, ctx)
        if run is None or run.state != ctx["State"]["Name"] or not run.children:
            run = state.open(self._keep)
        else:
            with run.active:
                state.reopen(run)
        with run.active:
            output = state.process(run)
        self._runs.pop(execution["executionArn"], None)
        return output

    def _keep(self, run: MapRun) -> None:
        self._machines._map_runs[run.view["mapRunArn"]] = run.view
        self._runs[run.view["executionArn"]] = run


class _State:
    """One evaluation of a Map state."""

    def __init__(
        self, machines: Any, definition: Any, raw_input: Any, effective: Any, iterator: Any, execution: Any, ctx: Any
    ) -> None:
        self._machines, self._definition, self._iterator = machines, definition, iterator
        self._raw, self._effective, self._execution, self._ctx = raw_input, effective, execution, ctx
        self._jsonata = machines._state_query_language(definition, ctx) == "JSONata"
        parts = execution["stateMachineArn"].split(":")
        self._region, self._account, self._machine = parts[3], parts[4], parts[6]
        self._redrives = execution.get("redriveCount", 0)
        self._express = (iterator.get("ProcessorConfig") or {}).get("ExecutionType") == "EXPRESS"

    def open(self, keep: Callable[[MapRun], None]) -> MapRun:
        """Start a Map Run: the settings are evaluated, and the items read and grouped. ``keep`` is given it at once."""
        machines, has_reader = self._machines, "ItemReader" in self._definition
        given = [] if has_reader else self._given_items()
        self._event("MapStateStarted", mapStateStartedEventDetails={"length": len(given)})
        count, percentage = self._tolerated()
        concurrency = int(self._value(self._definition.get("MaxConcurrency"), "MaxConcurrency") or 0)
        label = self._definition.get("Label") or machines.new_uuid()
        prefix = f"arn:aws:states:{self._region}:{self._account}"
        arn = f"{prefix}:mapRun:{self._machine}/{label}:{machines.new_uuid()}"
        child_machine = f"{prefix}:stateMachine:{self._machine}/{label}"
        view = {
            "mapRunArn": arn,
            "executionArn": self._execution["executionArn"],
            "status": "RUNNING",
            "startDate": machines.now_iso(),
            "maxConcurrency": concurrency,
            "toleratedFailurePercentage": percentage,
            "toleratedFailureCount": count,
            "itemCounts": dict.fromkeys(COUNTERS, 0),
            "executionCounts": dict.fromkeys(COUNTERS, 0),
            "redriveCount": 0,
            "_stateMachineArn": child_machine,
        }
        run = MapRun(
            view,
            self._execution["startDate"],
            self._ctx["State"]["Name"],
            self._raw,
            copy.deepcopy(self._ctx.get("variables", {})),
        )
        keep(run)
        self._event("MapRunStarted", mapRunStartedEventDetails={"mapRunArn": arn})
        self._permit(run, "states:StartExecution", f"{prefix}:stateMachine:{self._machine}", "States.Runtime")
        try:
            items = self._read() if has_reader else given
            first = 0
            for batch in self._batches(self._selected(items)):
                run.children.append(Child(child_machine, first, batch))
                first += batch.items
        except ReaderFailed as error:
            raise self._failed(run, "States.ItemReaderFailed", str(error)) from None
        except TooLarge as error:
            raise self._failed(run, "States.DataLimitExceeded", str(error)) from None
        except machines._ExecutionError as error:
            raise self._failed(run, error.error, error.cause) from None
        for counts, number in ((view["executionCounts"], len(run.children)), (view["itemCounts"], first)):
            counts["total"] = counts["pending"] = number
        return run

    def reopen(self, run: MapRun) -> None:
        """Make everything that has not succeeded pending again (Step Functions guide, Redriving Map Runs)."""
        for child in run.children:
            if child.status in UNSUCCESSFUL and run.move(child, child.status, "PENDING"):
                child.redrives += 1
        run.view.update(
            status="RUNNING", redriveCount=run.view["redriveCount"] + 1, redriveDate=self._machines.now_iso()
        )
        run.view.pop("stopDate", None)
        self._event(
            "MapRunRedriven",
            mapRunRedrivenEventDetails={
                "mapRunArn": run.view["mapRunArn"],
                "redriveCount": run.view["redriveCount"],
            },
        )

    def process(self, run: MapRun) -> Any:
        """Run what is pending, write the results, and give the state's output and what follows it."""
        self._start(run)
        if self._is_stopped:
            self._close(run, "ABORTED")
            self._write(run)
            # ministack would record an event, or a failure, after the abort; this ends the execution's thread.
            raise SystemExit
        exceeded = run.exceeds()
        self._close(run, "FAILED" if exceeded else "SUCCEEDED")
        details = self._write(run)
        if exceeded:
            raise self._failed(
                run,
                "States.ExceedToleratedFailureThreshold",
                "The specified tolerated failure threshold was exceeded",
            )
        self._event("MapRunSucceeded")
        self._event("MapStateSucceeded")
        writer = self._definition.get("ResultWriter") or {}
        result: Any = details
        if details is None:
            config = {"Transformation": "COMPACT", **(writer.get("WriterConfig") or {})}
            result = transformed(run.children, config["Transformation"])
        return self._output(result), self._machines._next_or_end(self._definition)

    @property
    def _is_stopped(self) -> bool:
        """Whether the execution was stopped, even if it was redriven since."""
        return (self._execution["status"], self._execution.get("redriveCount", 0)) != ("RUNNING", self._redrives)

    def _given_items(self) -> list[Any]:
        if self._jsonata:
            found = self._value(self._definition["Items"], "Items") if "Items" in self._definition else self._raw
        else:
            found = self._machines._resolve_path_or_ctx(
                self._definition.get("ItemsPath", "$"), self._effective, self._ctx
            )
        return found if isinstance(found, list) else [found]

    def _tolerated(self) -> tuple[int, float]:
        """ToleratedFailureCount and ToleratedFailurePercentage; the errors are worded as recorded."""
        count = self._limit("ToleratedFailureCount", int, "integer")
        percentage = self._limit("ToleratedFailurePercentage", float, "float")
        if count < 0:
            raise self._invalid("ToleratedFailureCount cannot be negative.")
        if not 0 <= percentage <= 100:
            raise self._invalid("ToleratedFailurePercentage must be between 0 and 100.")
        return int(count), float(percentage)

    def _limit(self, name: str, kind: type, said: str) -> float:
        path = self._definition.get(f"{name}Path")
        if path is None:
            value = self._value(self._definition.get(name), name) or 0
        else:
            value = self._machines._resolve_path_or_ctx(path, self._effective, self._ctx)
        if type(value) is int or (kind is float and type(value) is float):
            return float(value)
        shown = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        raise self._invalid(f'The {name}Path field refers to value "{shown}" which is not a valid {said}: {path}')

    def _invalid(self, cause: str) -> Exception:
        entered = [each for each in self._execution["events"] if each["type"] == "MapStateEntered"]
        place = f"(entered at the event id #{entered[-1]['id']})" if entered else ""
        error: Exception = self._machines._ExecutionError(
            "States.Runtime",
            f"An error occurred while executing the state '{self._ctx['State']['Name']}' {place}. {cause}",
        )
        return error

    def _value(self, value: Any, name: str) -> Any:
        """A field that may be, or hold, JSONata."""
        if not self._jsonata or value is None:
            return value
        found = self._machines._apply_jsonata_template(value, self._raw, self._ctx)
        if name in ("MaxConcurrency", "ToleratedFailureCount", "ToleratedFailurePercentage"):
            self._machines._jsonata_state_field({name: found}, name, "number", self._raw, self._ctx)
        return found

    def _arguments(self, holder: Mapping[str, Any]) -> dict[str, Any]:
        if self._jsonata:
            found = self._value(holder.get("Arguments") or {}, "Arguments")
        else:
            found = self._machines._resolve_params_obj(holder.get("Parameters") or {}, self._effective, self._ctx)
        return dict(found)

    def _read(self) -> list[Any]:
        reader, machines = self._definition["ItemReader"], self._machines
        arguments = self._arguments(reader)
        config = dict(self._value(reader.get("ReaderConfig") or {}, "ReaderConfig"))
        if path := config.pop("MaxItemsPath", None):
            config["MaxItems"] = machines._resolve_path_or_ctx(path, self._effective, self._ctx)
        bucket = str(arguments.get("Bucket", ""))
        if not str(reader.get("Resource", "")).endswith("s3:getObject"):
            plain = {"Resource": reader.get("Resource", ""), "Parameters": arguments, "ReaderConfig": config}
            listed: list[Any] = machines._read_map_items(plain, self._effective, self._ctx)
            return listed
        key = str(arguments.get("Key", ""))
        require_permission(machines, self._role(), "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", _READER)
        status, _headers, body = importlib.import_module("ministack.services.s3")._get_object(bucket, key, {}, {})
        if status != 200:
            raise ReaderFailed(f"The specified key does not exist. (Bucket: {bucket}, Key: {key})")
        return parse_items(body if isinstance(body, bytes) else str(body).encode(), config)

    def _selected(self, items: list[Any]) -> Iterator[Any]:
        selector = self._definition.get("ItemSelector") or self._definition.get("Parameters")
        for index, item in enumerate(items):
            if not selector:
                yield item
                continue
            ctx = {**self._ctx, "Map": {"Item": {"Index": index, "Value": item}}}
            if self._jsonata:
                yield self._machines._apply_jsonata_template(selector, self._raw, ctx)
            else:
                yield self._machines._resolve_params_obj(selector, self._effective, ctx)

    def _batches(self, items: Iterator[Any]) -> Iterator[Batch]:
        batcher = self._definition.get("ItemBatcher") or {}
        given = batcher.get("BatchInput")
        if given is not None:
            given = (
                self._value(given, "BatchInput")
                if self._jsonata
                else self._machines._resolve_params_obj(given, self._effective, self._ctx)
            )
        return batches(
            list(items),
            most_items=self._batch_limit(batcher, "MaxItemsPerBatch"),
            most_bytes=self._batch_limit(batcher, "MaxInputBytesPerBatch"),
            batch_input=given,
        )

    def _batch_limit(self, batcher: Mapping[str, Any], name: str) -> int:
        if path := batcher.get(f"{name}Path"):
            return int(self._machines._resolve_path_or_ctx(path, self._effective, self._ctx))
        return int(self._value(batcher.get(name), name) or 0)

    def _start(self, run: MapRun) -> None:
        """Run the pending children, until all have ended, too many have failed, or the execution was stopped."""
        pending = iter([child for child in run.children if child.status == "PENDING"])
        pool = ThreadPoolExecutor(run.view["maxConcurrency"] or UNLIMITED)
        running: dict[Future[None], Child] = {}
        try:
            while not self._is_stopped and not run.exceeds():
                while len(running) < (run.view["maxConcurrency"] or UNLIMITED) and (child := next(pending, None)):
                    run.move(child, "PENDING", "RUNNING")
                    running[pool.submit(contextvars.copy_context().run, self._run_child, run, child)] = child
                if not running:
                    break
                ended, _ = wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                    del running[future]
        finally:
            # What is running is aborted. Its threads end when their tasks do, and what they give no longer counts.
            for child in running.values():
                run.move(child, "RUNNING", "ABORTED")
            pool.shutdown(wait=False)

    def _run_child(self, run: MapRun, child: Child) -> None:
        machines, attempt = self._machines, child.redrives
        child.name = child.name or machines.new_uuid()
        kind, own = ("express", f"{child.name}:{machines.new_uuid()}") if self._express else ("execution", child.name)
        _, _, path = child.machine_arn.partition(":stateMachine:")
        child.arn = f"arn:aws:states:{self._region}:{self._account}:{kind}:{path}:{own}"
        child.started, child.stopped = machines.now_iso(), ""
        text = json.dumps(child.batch.input)
        execution = {
            "executionArn": child.arn, "stateMachineArn": child.machine_arn, "name": child.name, "status": "RUNNING",
            "startDate": child.started, "stopDate": None, "input": text, "inputDetails": {"included": True},
            "output": None, "outputDetails": {"included": True}, "mapRunArn": run.view["mapRunArn"], "events": [],
            "testCase": self._execution.get("testCase"), "mockAttempts": {},
        }  # fmt: skip
        if not self._express:
            machines._executions[child.arn] = execution
        ctx = {
            # A child has a context and variables of its own.
            "QueryLanguage": self._iterator.get("QueryLanguage", self._ctx["QueryLanguage"]),
            "Execution": {
                "Id": child.arn,
                "Input": child.batch.input,
                "Name": child.name,
                "StartTime": child.started,
            },
            "StateMachine": {"Id": child.machine_arn, "Name": self._ctx["StateMachine"]["Name"]},
            "variables": {},
        }
        began, status, output, error, cause = time.monotonic(), "SUCCEEDED", None, "", ""
        try:
            output = machines._run_sub_machine(
                self._iterator["States"], self._iterator["StartAt"], child.batch.input, execution, ctx
            )
        except Exception as problem:  # noqa: BLE001 - whatever ends a child is its failure, not that of the Map Run
            status = "FAILED"
            error, cause = getattr(problem, "error", "States.Runtime"), getattr(problem, "cause", str(problem))
        if self._express and time.monotonic() - began > EXPRESS_SECONDS:
            status, error, cause = "TIMED_OUT", "States.Timeout", ""
        execution.update(status=status, stopDate=machines.now_iso(), error=error, cause=cause)
        if status == "SUCCEEDED":
            execution["output"] = json.dumps(output)
        with run.lock:
            if child.redrives == attempt:
                child.output, child.error, child.cause, child.stopped = output, error, cause, execution["stopDate"]
        run.move(child, "RUNNING", status, attempt)

    def _close(self, run: MapRun, status: str) -> None:
        run.view.update(status=status, stopDate=self._machines.now_iso())
        for counts in (run.view["itemCounts"], run.view["executionCounts"]):
            counts["resultsWritten"] = counts["total"] - counts["pending"]

    def _write(self, run: MapRun) -> dict[str, Any] | None:
        """Write the results, if there is a place to, and give the state's result. Raises States.ResultWriterFailed."""
        writer = self._definition.get("ResultWriter") or {}
        if "Resource" not in writer:
            return None
        arguments = self._arguments(writer)
        bucket, prefix = str(arguments["Bucket"]), str(arguments.get("Prefix", "")).strip("/")
        folder = f"{prefix}/{run.id}" if prefix else run.id
        files = result_files(
            run.children, bucket=bucket, folder=folder, map_run_arn=run.view["mapRunArn"],
            config=writer.get("WriterConfig") or {},
        )  # fmt: skip
        s3 = importlib.import_module("ministack.services.s3")
        for key, body in files.items():
            self._permit(run, "s3:PutObject", f"arn:aws:s3:::{bucket}/{key}", _WRITER)
            status, _headers, _body = s3._put_object(bucket, key, body, {})
            if status != 200:
                raise self._failed(run, _WRITER, f"The specified bucket does not exist. (Bucket: {bucket})")
        return {
            "MapRunArn": run.view["mapRunArn"],
            "ResultWriterDetails": {"Bucket": bucket, "Key": f"{folder}/manifest.json"},
        }

    def _output(self, result: Any) -> Any:
        machines, definition = self._machines, self._definition
        if self._jsonata:
            output = machines._apply_jsonata_output(definition, self._raw, self._ctx, result=result, default=result)
            machines._apply_state_assign(definition, self._raw, self._ctx, result=result)
            return output
        shaped = machines._apply_result_path(definition, self._raw, machines._apply_result_selector(definition, result))
        return machines._apply_output_path(definition, shaped, self._ctx)

    def _role(self) -> str:
        machine = self._machines._state_machines.get(self._execution["stateMachineArn"])
        return str(machine["roleArn"]) if machine else ""

    def _permit(self, run: MapRun, action: str, resource: str, error: str) -> None:
        try:
            require_permission(self._machines, self._role(), action, resource, error)
        except self._machines._ExecutionError as refused:
            raise self._failed(run, refused.error, refused.cause) from None

    def _failed(self, run: MapRun, error: str, cause: str) -> Exception:
        run.view.update(status="FAILED", stopDate=self._machines.now_iso())
        self._event("MapRunFailed", mapRunFailedEventDetails={"error": error, "cause": cause})
        self._event("MapStateFailed")
        failure: Exception = self._machines._ExecutionError(error, cause)
        return failure

    def _event(self, kind: str, **details: Any) -> None:
        self._machines._add_event(self._execution, kind, details or None)


_READER, _WRITER = "States.ItemReaderFailed", "States.ResultWriterFailed"
