"""Preparing batches ahead of their use, in threads."""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from caffepy.engine.data.feed import Images

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

JOIN_SECONDS = 5.0  # how long `close` waits for batches that are being made

Part = Callable[[], None]  # makes a part of a batch


@dataclass
class Batch:
    """Samples of images.

    images: (N, C, H, W).  labels: (N,).  names: of the samples, where they come from, for messages.
    """

    images: Images
    labels: np.ndarray
    names: Sequence[str]


class Work(Protocol[T_co]):
    """A batch that is being made, part by part. The parts may be made by several threads."""

    def read(self) -> Part | None:
        """Reads what the next part is made of; None after the last one. One thread at a time does
        so, and for no other batch meanwhile."""

    def finish(self) -> T_co:
        """The batch, when all parts are made."""

    def again(self) -> T_co:
        """The batch, made anew sample after sample when a part could not be read or made and no
        other is under way. Raises: what the first sample does that is in the way."""


class Whole(Generic[T]):
    """The work on a batch that is made in one go while it is read."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._batches: list[T] = []  # one, when it is made
        self._failure: BaseException | None = None

    def read(self) -> None:
        try:
            self._batches.append(self._make())
        except BaseException as error:  # whatever it is, the user shall get it
            self._failure = error

    def finish(self) -> T:
        if self._failure is not None:
            raise self._failure
        return self._batches.pop()

    again = finish


def done(work: Work[T]) -> T:
    """The batch, made by this thread alone."""
    try:
        while (part := work.read()) is not None:
            part()
    except Exception:  # what is raised is for `again` to say
        return work.again()
    return work.finish()


class Source(Protocol[T_co]):
    """Makes batches; only one thread at a time calls it."""

    def batch(self, first: int, count: int) -> T_co:
        """The batch of the `count` samples from number `first` on (numbers go up without end)."""

    def close(self) -> None:
        """Ends it; no batch is asked for afterwards."""


@runtime_checkable
class PartedSource(Source[T_co], Protocol[T_co]):
    """A source whose batches may be made by several threads."""

    def begin(self, first: int, count: int) -> Work[T_co]:
        """What makes the batch of `batch`. It is read to its end, or given up, before the next."""


class Prefetcher(Generic[T]):
    """The batches of a source one after the other, up to `depth` of them made ahead by `threads`.

    The threads start with the first `next`, end with `close` or when this object is forgotten, and
    the last one closes the source. What comes out is a function of the position alone.
    """

    def __init__(self, source: Source[T], batch_size: int, depth: int, threads: int = 1) -> None:
        self.batch_size = batch_size
        self.position = 0  # number of the first sample of the next batch
        if not isinstance(source, PartedSource):
            threads = 1
        self._ring = _Ring(source, batch_size, max(1, depth), threads)
        self._threads: list[threading.Thread] = []
        self._forgotten = weakref.finalize(self, self._ring.end)

    @property
    def closed(self) -> bool:
        """Whether `close` was called: there are no more batches."""
        return not self._forgotten.alive

    def next(self) -> T:
        """The batch at `position`, which moves on.

        Raises: what the source raised for it, and again for every further call; `seek` leads on.
        """
        if not self._threads:
            for number in range(self._ring.threads):
                name = f"prefetch {number}"
                thread = threading.Thread(target=self._ring.work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        batch = self._ring.take()
        self.position += self.batch_size
        return batch

    def coming(self) -> T | None:
        """The batch that `next` is going to give, when it is made; None where there is none, since
        the source raised."""
        return self._ring.first()

    def seek(self, position: int) -> None:
        """Makes sample number `position` the first of the next batch."""
        self.position = position
        self._ring.restart(position)

    def close(self) -> None:
        """Ends the threads. It does not wait for a source that hangs."""
        self._forgotten()
        if not self._threads:
            self._ring.source.close()
        until = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))


@dataclass(eq=False)
class _Slot(Generic[T]):
    """The place of one batch in the ring. The ring's lock guards it.

    first: the number of its first sample.  work: what makes it.  under_way: parts that are being
    made.  read: whether no more parts come.  broken: whether one could not be read or made.
    wanted: whether the user still waits for it.  done: whether it is in `batches`, or a failure in
    its place.
    """

    first: int
    work: Work[T] | None = None
    under_way: int = 0
    read: bool = False
    broken: bool = False
    wanted: bool = True
    done: bool = False
    batches: list[T] = field(default_factory=list)
    failure: BaseException | None = None


class _Ring(Generic[T]):
    """What the threads and their user share. It knows no Prefetcher, so that one can be forgotten.

    Slots stand in the order of their batches: those that are done, then those that are made, the
    last of which may still be read.
    """

    def __init__(self, source: Source[T], batch_size: int, depth: int, threads: int) -> None:
        self.source = source
        self.batch_size = batch_size
        self.depth = depth
        self.threads = threads
        self._changed = threading.Condition()
        self._slots: deque[_Slot[T]] = deque()
        self._reading = False  # whether a thread reads
        self._next = 0  # the first sample of the next slot
        self._ended = False
        self._working = threads  # those that have not ended

    def work(self) -> None:
        """A thread: reads a part and makes it, while there is room."""
        while (slot := self._turn()) is not None:
            part = self._read(slot)
            if part is not None:
                self._make(slot, part)
            del slot, part
        with self._changed:
            self._working -= 1
            last = not self._working
        if last:
            self.source.close()

    def take(self) -> T:
        with self._changed:
            slot = self._wait_for_first()
            if slot is None:
                raise RuntimeError("the prefetcher is closed")
            if slot.failure is not None:
                raise slot.failure
            self._slots.popleft()
            self._changed.notify_all()
            return slot.batches.pop()

    def first(self) -> T | None:
        with self._changed:
            slot = self._wait_for_first()
            return slot.batches[0] if slot is not None and slot.batches else None

    def restart(self, first: int) -> None:
        with self._changed:
            self._give_up()
            self._next = first
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._give_up()
            self._ended = True
            self._changed.notify_all()

    def _give_up(self) -> None:
        """What is being made comes too late."""
        for slot in self._slots:
            slot.wanted = False
        self._slots.clear()

    def _wait_for_first(self) -> _Slot[T] | None:
        """The slot of the batch to give next, when it is done; None when all is over."""
        self._changed.wait_for(lambda: self._ended or (self._slots and self._slots[0].done))
        return None if self._ended else self._slots[0]

    def _turn(self) -> _Slot[T] | None:
        """Waits until there is something to read: the slot that it belongs to. None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or (not self._reading and self._room()))
            if self._ended:
                return None
            if not self._slots or self._slots[-1].read:
                self._slots.append(_Slot(self._next))
                self._next += self.batch_size
            self._reading = True
            return self._slots[-1]

    def _room(self) -> bool:
        """Whether the last batch has more parts, or there is room for one more."""
        if self._slots and not self._slots[-1].read:
            return True
        return len(self._slots) < self.depth and not any(slot.broken for slot in self._slots)

    def _read(self, slot: _Slot[T]) -> Part | None:
        """The next part of a slot, which is then under way."""
        part: Part | None = None
        failure: BaseException | None = None
        try:
            if slot.work is None:
                slot.work = _begun(self.source, slot.first, self.batch_size)
            if not slot.broken:
                part = slot.work.read()
        except BaseException as error:  # whatever it is, the user shall get it
            failure = error
        with self._changed:
            self._reading = False
            if failure is not None:
                slot.broken, slot.failure = True, failure
            if slot.broken or not slot.wanted:
                part = None
            slot.read = part is None
            slot.under_way += not slot.read
            complete = slot.read and not slot.under_way
            self._changed.notify_all()
        if complete:
            self._finish(slot)
        return part

    def _make(self, slot: _Slot[T], part: Part) -> None:
        """Makes a part, and with the last one the batch."""
        broken = False
        try:
            part()
        except BaseException:  # raised again by `again`, if no sample before it raises too
            broken = True
        with self._changed:
            slot.under_way -= 1
            slot.broken |= broken
            complete = slot.read and not slot.under_way
        if complete:
            self._finish(slot)

    def _finish(self, slot: _Slot[T]) -> None:
        """Puts the batch into a slot all of whose parts are made, or what is raised instead."""
        if not slot.wanted:
            return
        try:
            if slot.work is not None:
                slot.batches.append(slot.work.again() if slot.broken else slot.work.finish())
                slot.failure = None
        except BaseException as error:
            slot.failure = error
        with self._changed:
            slot.work = None
            slot.broken = slot.failure is not None
            slot.done = True
            self._changed.notify_all()


def _begun(source: Source[T], first: int, count: int) -> Work[T]:
    if isinstance(source, PartedSource):
        return source.begin(first, count)
    return Whole(functools.partial(source.batch, first, count))
