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
KEPT = 1024  # choices: those of all layers of a few nets


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

    repeatable: to take cuDNN's first guess. Else plans are timed where they are first needed: the
    fastest one may be another in each process, and give other bits.
    """

    def __init__(self, runtime: CudaRuntime, dtype: np.dtype, repeatable: bool) -> None:
        self._runtime = runtime
        self._dtype = dtype
        self._repeatable = repeatable
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
        best, least = None, math.inf
        if rival is not None and not self._repeatable and not self._runtime.capturing:
            least = self._milliseconds(rival)
        for convolution in asked:
            for plan in dnn.plans(convolution, TRIED):
                way = Way(convolution, plan)
                if self._runtime.capturing:  # nothing runs meanwhile
                    return way
                # of its own: it goes back to the pool where the way is not taken
                workspace = Value((way.workspace_count(self._dtype),), self._dtype)
                try:
                    took = self._milliseconds(partial(run, way, workspace))
                except DeviceError:  # some plans fail when they run, or want too much memory
                    continue
                if self._repeatable:
                    return way
                if took < least:
                    best, least = way, took
        return best

    def _milliseconds(self, run: Callable[[], None]) -> float:
        """How long it takes; 0 where that does not matter."""
        run()
        if self._repeatable:
            return 0
        begun = self._runtime.record()
        for _ in range(TIMED):
            run()
        return self._runtime.record().milliseconds_since(begun)
