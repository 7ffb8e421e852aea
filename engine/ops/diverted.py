"""Steps that write their result elsewhere than they were recorded to."""

from __future__ import annotations

import functools
from dataclasses import replace

from caffepy.engine.core.record import Step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op


class Diverted(Op):
    """An op call whose result goes to another value, since the next step overwrites the one it was
    for. Where Python code holds an array of that, it gets the result.

    took_place: whether the last run wrote to the other value.
    """

    def __init__(self, step: Step, target: Value) -> None:
        super().__init__(step.op.ops)
        run = step.run
        assert isinstance(run, functools.partial)
        self._out: Value = step.arguments["out"]
        self._usual = run
        self._other = functools.partial(run.func, step.op, **{**step.arguments, "out": target})
        self.took_place = False
        self.step = replace(step, run=self._run, op=self)

    @staticmethod
    def possible(step: Step, out: Value) -> bool:
        """Whether writing `out` is all that a step does."""
        return (
            isinstance(step.op, Op)
            and isinstance(step.run, functools.partial)
            and step.arguments.get("out") is out
            and len(step.writes) == 1
            and not any(value.shares_memory_with(out) for value in step.reads)
        )

    def _run(self) -> None:
        self.took_place = not self._out.leased
        if self.took_place:
            self._other()
        else:
            self._usual()
