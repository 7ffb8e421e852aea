"""Work by several threads: its order, its exceptions, how far it goes ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from caffepy.engine.data.in_order import AHEAD, in_order


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("together", [1, 4])
def test_results_come_in_the_order_of_the_items(threads: int, together: int) -> None:
    assert list(in_order(str, range(50), threads, together=together)) == [*map(str, range(50))]
    assert list(in_order(str, [], threads)) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exception_comes_in_the_place_of_its_result(threads: int) -> None:
    results = in_order(lambda item: 1 // (item - 5), range(50), threads, together=4)
    assert [next(results) for _ in range(5)] == [-1, -1, -1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_no_more_items_are_taken_than_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = in_order(str, items(), 2, together=5)
    assert next(results) == "0"
    assert len(taken) == AHEAD * 2 * 5
    results.close()  # type: ignore[attr-defined] # a generator's
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("work")]
