"""Preparing batches in a thread."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest

from caffepy.engine.data import pipeline
from caffepy.engine.data.pipeline import Prefetcher

WAIT = 10.0  # seconds until a test that hangs is given up


class Numbers:
    """A source whose batches are the numbers of their samples."""

    def __init__(self, hook: Callable[[int], None] = lambda first: None) -> None:
        self.hook = hook
        self.made: list[int] = []
        self.closed = threading.Event()

    def batch(self, first: int, count: int) -> list[int]:
        assert not self.closed.is_set()
        self.hook(first)
        self.made.append(first)
        return list(range(first, first + count))

    def close(self) -> None:
        assert not self.closed.is_set()
        self.closed.set()


def fail_at(wrong: int) -> Callable[[int], None]:
    def hook(first: int) -> None:
        if first == wrong:
            raise KeyError(f"sample {first}")

    return hook


@pytest.mark.parametrize("depth", [0, 1, 2, 7])
def test_batches_come_in_order_whatever_is_prefetched(depth: int) -> None:
    prefetcher = Prefetcher(Numbers(), 3, depth)
    found = [number for _ in range(20) for number in prefetcher.next()]
    assert found == list(range(60))
    assert prefetcher.position == 60
    prefetcher.close()


def test_no_more_than_asked_for_is_made_ahead() -> None:
    full = threading.Event()
    source = Numbers(lambda first: full.set() if first == 30 else None)
    prefetcher = Prefetcher(source, 10, 3)
    assert prefetcher.next()[0] == 0
    assert full.wait(WAIT)
    prefetcher.close()
    assert source.closed.wait(WAIT)
    assert max(source.made) <= 30


def test_nothing_is_made_before_the_first_batch_is_wanted() -> None:
    source = Numbers()
    prefetcher = Prefetcher(source, 2, 4)
    prefetcher.seek(10)
    prefetcher.close()
    assert source.made == []
    assert source.closed.is_set()


def test_seek_leads_anywhere() -> None:
    prefetcher = Prefetcher(Numbers(), 2, 3)
    assert prefetcher.next() == [0, 1]
    for position in (100, 0, 7):
        prefetcher.seek(position)
        assert prefetcher.next() == [position, position + 1]
        assert prefetcher.next() == [position + 2, position + 3]
    prefetcher.close()


def test_an_exception_comes_with_the_batch_that_it_belongs_to() -> None:
    prefetcher = Prefetcher(Numbers(fail_at(4)), 2, 5)
    assert [prefetcher.next(), prefetcher.next()] == [[0, 1], [2, 3]]
    for _ in range(2):
        with pytest.raises(KeyError, match="sample 4"):
            prefetcher.next()
    assert prefetcher.position == 4
    prefetcher.seek(6)
    assert prefetcher.next() == [6, 7]
    prefetcher.close()


def test_close_ends_a_thread_that_waits_for_room_or_has_failed() -> None:
    for source in (Numbers(), Numbers(fail_at(2))):
        prefetcher = Prefetcher(source, 2, 1)
        prefetcher.next()
        prefetcher.close()
        assert source.closed.wait(WAIT)
        with pytest.raises(RuntimeError, match="closed"):
            prefetcher.next()


def test_a_batch_that_is_being_made_when_it_is_closed_comes_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "JOIN_SECONDS", 0.01)
    being_made, release = threading.Event(), threading.Event()

    def hook(first: int) -> None:
        if first == 2:
            being_made.set()
            release.wait(WAIT)

    source = Numbers(hook)
    prefetcher = Prefetcher(source, 2, 1)
    prefetcher.next()
    assert being_made.wait(WAIT)
    assert not prefetcher.closed
    prefetcher.close()
    assert prefetcher.closed
    release.set()
    assert source.closed.wait(WAIT)
    with pytest.raises(RuntimeError, match="closed"):
        prefetcher.next()


def test_close_does_not_wait_for_a_source_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "JOIN_SECONDS", 0.01)
    hangs, release = threading.Event(), threading.Event()

    def hook(first: int) -> None:
        if first == 2:
            hangs.set()
            release.wait(WAIT)

    source = Numbers(hook)
    prefetcher = Prefetcher(source, 2, 4)
    prefetcher.next()
    assert hangs.wait(WAIT)
    prefetcher.close()
    assert not source.closed.is_set()
    release.set()
    assert source.closed.wait(WAIT), "the source is closed as soon as it comes back"


def test_a_forgotten_prefetcher_ends_its_thread() -> None:
    source = Numbers()
    prefetcher = Prefetcher(source, 2, 2)
    prefetcher.next()
    del prefetcher
    gc.collect()
    assert source.closed.wait(WAIT)
