"""Fusing: steps that ops run as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.record import Step, joined, recorded, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes.fuse import fuse
from caffepy.engine.passes.lifetimes import releasing


class Add(Op):
    """out = x + amount; takes over a following Add of what it wrote."""

    def __init__(self, ops: Ops, amount: float) -> None:
        super().__init__(ops)
        self.amount = amount

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        out.write()[...] = x.read() + self.amount

    def merged(self, step: Step, after: Step) -> Step | None:
        if not isinstance(after.op, Add) or after.arguments["x"] is not step.arguments["out"]:
            return None
        both = Add(self.ops, self.amount + after.op.amount)
        return recorded_step(both, step.arguments["x"], after.arguments["out"])


class Double(Op):
    """out = 2 x, in place; an Add before it may write twice as much."""

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        out.write()[...] = 2 * x.read()

    def rearranged(self, before: Sequence[Step], step: Step) -> tuple[int, Sequence[Step]] | None:
        adding = before[-1].op if before else None
        if not isinstance(adding, Add):
            return None
        x, out = before[-1].arguments["x"], step.arguments["out"]
        more = Add(self.ops, 2 * adding.amount)
        return 1, (recorded_step(self, x, out), recorded_step(more, out, out))


def recorded_step(op: Add | Double, x: Value, out: Value) -> Step:
    (found,) = recorded(op.ops, lambda: op.forward(x, out=out))
    return found


def test_a_step_takes_over_those_that_follow_as_long_as_its_op_can() -> None:
    ops = NumpyOps()
    x, y, z, other = (Value((2,)) for _ in range(4))
    x.write()[...] = 1
    steps = [
        recorded_step(Add(ops, 1), x, y),
        recorded_step(Add(ops, 2), y, y),
        recorded_step(Add(ops, 4), y, z),
        recorded_step(Add(ops, 8), x, other),
    ]
    fused = fuse(list(enumerate(steps)))
    assert [place for place, _ in fused] == [2, 3]
    for value in (z, other):
        value.clear()
    for _, one in fused:
        one()
    assert (z.read() == 8).all()
    assert (other.read() == 9).all()


def test_a_step_takes_the_place_of_those_before_it_where_its_op_can() -> None:
    ops = NumpyOps()
    x, y = Value((2,)), Value((2,))
    x.write()[...] = 1
    steps = [
        recorded_step(Add(ops, 2), x, y),
        recorded_step(Double(ops), y, y),
    ]
    fused = fuse(list(zip((3, 5), steps, strict=True)))
    assert [(place, one.name) for place, one in fused] == [
        (3, "Double.forward"),
        (5, "Add.forward"),
    ]
    for _, one in fused:
        one()
    assert (y.read() == 6).all()
    alone = [(0, recorded_step(Double(ops), x, y))]
    assert fuse(alone) == alone


def test_a_step_that_is_no_op_call_stays() -> None:
    calls: list[str] = []
    first = Step(lambda: calls.append("first"), (), ())
    second = recorded_step(Add(NumpyOps(), 1), Value((2,)), Value((2,)))
    assert fuse([(0, first), (1, second), (2, first)]) == [(0, first), (1, second), (2, first)]


class AddThenCall(Add):
    """Takes over a step that is no op call."""

    def merged(self, step: Step, after: Step) -> Step | None:
        return joined([step, after], lambda: None) if after.op is None else None


def test_a_step_takes_over_one_that_is_no_op_call_only_right_after_it() -> None:
    ops, call = NumpyOps(), Step(lambda: None, (), (), name="call")
    first = recorded_step(AddThenCall(ops, 1), Value((2,)), Value((2,)))
    other = recorded_step(Add(ops, 1), Value((2,)), Value((2,)))
    assert len(fuse([(0, first), (1, call)])) == 1
    apart = [(0, first), (1, other), (2, call)]
    assert fuse(apart) == apart


def test_a_step_passes_the_end_of_values_that_it_does_not_touch() -> None:
    ops = NumpyOps()
    x, y, other = (Value((2,)) for _ in range(3))
    first, second = recorded_step(Add(ops, 1), x, y), recorded_step(Add(ops, 2), y, y)
    for given_up, merged in ((other, True), (x, True), (y, False)):
        steps = [first, releasing([given_up], "end"), second]
        names = [one.name for _, one in fuse(list(enumerate(steps)))]
        assert names == ["Add.forward", "release"] + ["Add.forward"] * (not merged)


def test_a_recorded_step_names_its_op_method_and_arguments() -> None:
    op, x, y = Add(NumpyOps(), 1), Value((2,)), Value((2,))
    found = recorded_step(op, x, y)
    assert (found.op, found.method) == (op, "forward")
    assert found.arguments == {"x": x, "out": y}
    x.write()[...] = 2
    found()
    np.testing.assert_array_equal(y.read(), [3, 3])
