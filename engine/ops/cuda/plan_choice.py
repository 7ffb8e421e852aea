"""Which of cuDNN's plans the convolutions of a backend run by."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.port import Convolution, ConvolutionPlan, CudaRuntime

TRIED = 6  # plans that are timed for a convolution: cuDNN's best guesses
TIMED = 3  # runs of each, after one that loads its code
KEPT = 1024  # choices: those of all layers of a few nets; as many are made by time


@dataclass(frozen=True)
class Way:
    """A plan, and what it computes."""

    convolution: Convolution
    plan: ConvolutionPlan

    def workspace_count(self, dtype: np.dtype) -> int:
        """The elements of a value that is its workspace; 1 at least, to have an address."""
        return max(1, -(-self.plan.workspace // dtype.itemsize))


Run = Callable[[Way, Value], None]  # by a way, with a value as its workspace


class PlanChoice:
    """The ways that were chosen, by what was asked for, so that layers that are built again need
    not look again.

    repeatable: to take cuDNN's first guess. Else plans are timed where they are first needed, as
    graphs, since that is how they run, and small ones take less than their launch; the fastest one
    may be another in each process, and give other bits. Nets whose shapes change all the time get
    first guesses after a while.
    """

    def __init__(self, runtime: CudaRuntime, dtype: np.dtype, repeatable: bool) -> None:
        self._runtime = runtime
        self._dtype = dtype
        self._repeatable = repeatable
        self._timed = 0
        self._chosen: OrderedDict[Convolution, Way | None] = OrderedDict()

    def of(
        self, asked: Sequence[Convolution], run: Run, rival: Callable[[], None] | None = None
    ) -> Way | None:
        """The way for what can be computed as any of `asked`; None where there is none, or where
        the rival is faster.

        run: does all of it, over the same values each time.  rival: the same without cuDNN. Either
        may be called often.
        """
        if asked[0] not in self._chosen:
            self._chosen[asked[0]] = self._choose(asked, run, rival)
            if len(self._chosen) > KEPT:
                self._chosen.popitem(last=False)
        self._chosen.move_to_end(asked[0])
        return self._chosen[asked[0]]

    def _choose(
        self, asked: Sequence[Convolution], run: Run, rival: Callable[[], None] | None
    ) -> Way | None:
        dnn = self._runtime.dnn
        assert not isinstance(dnn, str), "ops ask whether there is cuDNN"
        ways = (Way(each, plan) for each in asked for plan in dnn.plans(each, TRIED))
        if self._runtime.capturing:  # nothing runs meanwhile
            return next(ways, None)
        by_time = not self._repeatable and self._timed < KEPT
        self._timed += by_time
        best, least = None, math.inf
        if rival is not None and by_time:
            least = self._milliseconds(rival)
        for way in ways:
            # of its own: it goes back to the pool where the way is not taken
            workspace = Value((way.workspace_count(self._dtype),), self._dtype)
            work = partial(run, way, workspace)
            took = self._milliseconds(work, by_time)
            if took < least:
                best, least = way, took
                if not by_time:
                    break
        return best

    def _milliseconds(self, work: Callable[[], None], by_time: bool = True) -> float:
        """How long it takes to do it a few times; 0 where that does not count, inf where it
        fails, as some plans do when they run, or wants too much memory."""

        def again() -> None:
            for _ in range(TIMED):
                work()

        try:
            work()
            if not by_time:
                return 0
            graph = self._runtime.capture(again)
            begun = self._runtime.record()
            graph.launch()
            return self._runtime.record().milliseconds_since(begun)
        except DeviceError:
            return math.inf
