"""Work on many items by several threads, whose results come in the order of the items."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 3  # pieces of work that wait, or are done, for each thread


def in_order(
    function: Callable[[T], R], items: Iterable[T], threads: int, *, together: int = 1
) -> Iterator[R]:
    """function(item) for every item, in their order.

    No more than a few items for each thread are taken ahead of the results that are asked for.
    together: items that a thread takes at a time, more than one where they are little work.
    Raises: what the function raises, in the place of the result.
    """
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[list[R | Exception]]] = deque()
    pool = ThreadPoolExecutor(threads, "work")
    source = iter(items)
    try:
        while True:
            while len(waiting) < AHEAD * threads:
                piece = list(itertools.islice(source, together))
                if not piece:
                    break
                waiting.append(pool.submit(_done, function, piece))
            if not waiting:
                return
            for result in waiting.popleft().result():
                if isinstance(result, Exception):
                    raise result
                yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _done(function: Callable[[T], R], piece: list[T]) -> list[R | Exception]:
    """The results of the items of a piece, up to the first exception, which ends them."""
    results: list[R | Exception] = []
    for item in piece:
        try:
            results.append(function(item))
        except Exception as error:
            results.append(error)
            break
    return results
