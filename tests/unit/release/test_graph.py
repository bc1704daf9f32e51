import threading
import time

import pytest

from pipeline.release.graph import Task, check_order, run_tasks


def test_a_task_gets_the_results_that_it_needs() -> None:
    results = run_tasks(
        [Task("sum", lambda a, b: a + b, needs=("one", "two")), Task("one", lambda: 1), Task("two", lambda: 2)]
    )
    assert results["sum"] == 3


def test_tasks_that_need_nothing_of_each_other_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=10)
    run_tasks([Task("a", meeting.wait), Task("b", meeting.wait)])


def test_after_a_failure_nothing_new_starts_and_what_runs_is_waited_for() -> None:
    ended: list[str] = []

    def fail() -> None:
        raise ValueError("first")

    def slow() -> None:
        time.sleep(0.1)
        ended.append("slow")

    with pytest.raises(ValueError, match="first"):
        run_tasks(
            [
                Task("fail", fail),
                Task("slow", slow),
                Task("after", lambda _: ended.append("after"), needs=("slow",)),
            ]
        )
    assert ended == ["slow"]


@pytest.mark.parametrize(
    "tasks",
    [
        [Task("a", print), Task("a", print)],
        [Task("a", print, needs=("b",))],
        [Task("a", print, needs=("b",)), Task("b", print, needs=("a",))],
    ],
)
def test_an_order_that_cannot_end_is_refused_before_anything_runs(tasks: list[Task]) -> None:
    with pytest.raises(ValueError, match="task"):
        check_order(tasks)
