"""A release as data: named tasks and what each needs. They run side by side as soon as their needs are met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from pipeline.core import interruption

# What is under way at Ctrl-C gets this long to end by itself (seconds).
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Task:
    """``action`` gets the results of ``needs`` in their order, and gives the result under ``name``."""

    name: str
    action: Callable[..., Any]
    needs: tuple[str, ...] = ()


def check_order(tasks: Sequence[Task]) -> None:
    """Raises ValueError for a doubled name, a need that nothing gives, or a circle."""
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise ValueError(f"two tasks have one name: {sorted(names)}")
    done: set[str] = set()
    left = list(tasks)
    while left:
        ready = [task for task in left if done.issuperset(task.needs)]
        if not ready:
            raise ValueError(f"these tasks wait for each other or for nothing: {[task.name for task in left]}")
        done.update(task.name for task in ready)
        left = [task for task in left if task.name not in done]


def run_tasks(tasks: Sequence[Task], *, workers: int = 8) -> Mapping[str, Any]:
    """Run all tasks, each once its needs are there; the results by name.

    After the first failure nothing new is started, what runs is waited for, and that first failure is raised. At
    Ctrl-C what runs is asked to end (see ``interruption``), waited for a moment, and KeyboardInterrupt is raised.
    """
    check_order(tasks)
    results: dict[str, Any] = {}
    running: dict[Future[Any], Task] = {}
    left = list(tasks)
    failure: BaseException | None = None
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="release")
    try:
        while left or running:
            if failure is None:
                for task in [task for task in left if all(need in results for need in task.needs)]:
                    left.remove(task)
                    running[pool.submit(task.action, *(results[need] for need in task.needs))] = task
            if not running:
                break
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                task = running.pop(future)
                problem = future.exception()
                if problem is None:
                    results[task.name] = future.result()
                else:
                    failure = failure or problem
    except KeyboardInterrupt:
        interruption.interrupt()
        wait(running, timeout=PATIENCE)
        raise
    finally:
        pool.shutdown(wait=not running, cancel_futures=True)
    if failure is not None:
        raise failure
    return results
