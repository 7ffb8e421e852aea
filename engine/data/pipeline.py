"""Preparing batches ahead of their use, in a thread."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from caffepy.engine.data.feed import Images

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

JOIN_SECONDS = 5.0  # how long `close` waits for a batch that is being made


@dataclass
class Batch:
    """Samples of images.

    images: (N, C, H, W).  labels: (N,).  names: of the samples, where they come from, for messages.
    """

    images: Images
    labels: np.ndarray
    names: Sequence[str]


class Source(Protocol[T_co]):
    """Makes batches; only one thread at a time calls it."""

    def batch(self, first: int, count: int) -> T_co:
        """The batch of the `count` samples from number `first` on (numbers go up without end)."""

    def close(self) -> None:
        """Ends it; no batch is asked for afterwards."""


class Prefetcher(Generic[T]):
    """The batches of a source one after the other, up to `depth` of them made ahead in a thread.

    The thread starts with the first `next`, ends with `close` or when this object is forgotten, and
    closes the source when it ends. What comes out is a function of the position alone.
    """

    def __init__(self, source: Source[T], batch_size: int, depth: int) -> None:
        self.batch_size = batch_size
        self.position = 0  # number of the first sample of the next batch
        self._ring = _Ring(source, batch_size, max(1, depth))
        self._thread: threading.Thread | None = None
        self._forgotten = weakref.finalize(self, self._ring.end)

    @property
    def closed(self) -> bool:
        """Whether `close` was called: there are no more batches."""
        return not self._forgotten.alive

    def next(self) -> T:
        """The batch at `position`, which moves on.

        Raises: what the source raised for it, and again for every further call; `seek` leads on.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._ring.work, name="prefetch", daemon=True)
            self._thread.start()
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
        """Ends the thread. It does not wait for a source that hangs."""
        self._forgotten()
        if self._thread is None:
            self._ring.source.close()
        else:
            self._thread.join(JOIN_SECONDS)


class _Ring(Generic[T]):
    """What the thread and its user share. It knows no Prefetcher, so that one can be forgotten."""

    def __init__(self, source: Source[T], batch_size: int, depth: int) -> None:
        self.source = source
        self.batch_size = batch_size
        self.depth = depth
        self._changed = threading.Condition()
        self._ready: deque[T] = deque()
        self._failure: BaseException | None = None  # of the batch after the ready ones
        self._first = 0  # of the batch to make next
        self._run = 0  # grows when the position is set: batches made before are of no use
        self._ended = False

    def work(self) -> None:
        """The thread: makes batches while there is room for them."""
        while True:
            with self._changed:
                self._changed.wait_for(self._wanted)
                if self._ended:
                    break
                run, first = self._run, self._first
            batch: T | None = None
            failure: BaseException | None = None
            try:
                batch = self.source.batch(first, self.batch_size)
            except BaseException as error:  # whatever it is, the user shall get it
                failure = error
            with self._changed:
                if run == self._run:
                    if failure is None:
                        self._ready.append(batch)  # type: ignore[arg-type]
                    self._failure = failure
                    self._first += self.batch_size
                    self._changed.notify_all()
            del batch, failure
        self.source.close()

    def take(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._failure or self._ended)
            if self._ready:
                batch = self._ready.popleft()
                self._changed.notify_all()
                return batch
            if self._failure is not None:
                raise self._failure
            raise RuntimeError("the prefetcher is closed")

    def first(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._failure or self._ended)
            return self._ready[0] if self._ready else None

    def restart(self, first: int) -> None:
        with self._changed:
            self._ready.clear()
            self._failure = None
            self._first = first
            self._run += 1
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._run += 1  # what is being made comes too late
            self._ready.clear()
            self._changed.notify_all()

    def _wanted(self) -> bool:
        """Whether the thread has something to do."""
        room = len(self._ready) < self.depth and self._failure is None
        return room or self._ended
