"""Workers: every task is done once, errors come through, threads are few."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from caffepy.engine.ops.numpy.workers import MAX_THREADS, Workers


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("tasks", [0, 1, 3, 40])
def test_every_task_is_done_once_by_no_more_workers_than_asked(threads: int, tasks: int) -> None:
    workers, done = Workers(threads), []
    workers.share(tasks, lambda worker, task: done.append((worker, task)))
    assert sorted(task for _, task in done) == list(range(tasks))
    assert {worker for worker, _ in done} <= set(range(threads))


def test_several_threads_take_part() -> None:
    meeting, names = threading.Barrier(2, timeout=30), set()

    def meet(worker: int, task: int) -> None:
        meeting.wait()
        names.add(threading.current_thread().name)

    workers = Workers(2)
    for _ in range(2):
        workers.share(2, meet)
    assert len(names) == 2


def test_an_error_of_any_worker_reaches_the_caller() -> None:
    def fail(worker: int, task: int) -> None:
        if task == 7:
            raise ValueError("task 7")

    with pytest.raises(ValueError, match="task 7"):
        Workers(3).share(20, fail)


def test_nan_and_overflow_pass_in_every_thread() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def overflow(worker: int, task: int) -> None:
        meeting.wait()
        assert np.isinf(np.multiply(np.full(3, 3e38, np.float32), np.float32(10))).all()

    Workers(2).share(2, overflow)


def test_another_process_makes_threads_of_its_own() -> None:
    workers, done = Workers(2), []
    workers.share(2, lambda worker, task: None)
    workers._process = -1  # as after a fork, which takes no threads along
    workers._pool = None
    workers.share(4, lambda worker, task: done.append(task))
    assert sorted(done) == [0, 1, 2, 3]


def test_the_number_of_threads_is_bounded() -> None:
    assert Workers(10_000).threads == MAX_THREADS
    assert 1 <= Workers().threads <= MAX_THREADS
