"""Workers: a few threads for numpy calls on large arrays, during which numpy lets others run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

from caffepy.engine.core.backend import Ops

MAX_THREADS = 8  # more would wait for memory, and for each other's Python code


class Workers:
    """Threads that wait without spinning; made at first use, and anew in a forked process.

    threads: how many work at a time, the caller's included; all cores by default, MAX_THREADS at
    most.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = min(threads or _cores(), MAX_THREADS)
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def share(self, tasks: int, work: Callable[[int, int], None]) -> None:
        """Calls work(worker, task) for every task, each worker in a thread of its own. Which of
        them does what is left to chance."""
        places = itertools.count()

        def serve(worker: int) -> None:
            with np.errstate(all="ignore"):  # which is each thread's own
                while (place := next(places)) < tasks:
                    work(worker, place)

        others: list[Future[None]] = []
        if tasks > 1 and self.threads > 1:
            helpers = range(1, min(self.threads, tasks))
            others = [self._running().submit(serve, worker) for worker in helpers]
        try:
            serve(0)
        finally:
            for other in others:
                other.result()

    def _running(self) -> ThreadPoolExecutor:
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(self.threads - 1, "caffepy-worker")
            self._process = os.getpid()
        return self._pool


class ThreadedOps(Ops, Protocol):
    """A backend with workers."""

    workers: Workers


def _cores() -> int:
    """The cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
