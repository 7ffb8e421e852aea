"""Recording op calls as Steps, and running them again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from caffepy.engine.core.record import Recorder, Step, recorded, step
from caffepy.engine.core.value import Epoch, Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes.program import Program
from tests.padded_ops import PaddedOps


class Weigh(Op):
    """out = factor * (a + the sum of others); add += out."""

    factor = 2.0

    @step(reads="a others", writes="out", adds="add")
    def forward(
        self,
        a: Value,
        others: Sequence[Value | None] = (),
        *,
        out: Value,
        add: Value | None = None,
    ) -> None:
        total = a.read() + sum(other.read() for other in others if other is not None)
        out.write()[...] = self.factor * total
        if add is not None:
            add.modify()[...] += self.factor * total


class Twice(Op):
    """Calls another op within."""

    @step(reads="a", adds="add")
    def forward(self, a: Value, *, add: Value) -> None:
        scratch = Value(a.shape, a.dtype)
        Weigh(self.ops).forward(a, out=scratch, add=add)


class Failing(Op):
    """Raises."""

    @step(writes="out")
    def forward(self, *, out: Value) -> None:
        raise ValueError("as asked")


def full(number: float) -> Value:
    value = Value((2, 3))
    value.write()[...] = number
    return value


def test_call_runs_at_once_and_is_recorded_while_a_recorder_is_set() -> None:
    ops, a, out = NumpyOps(), full(3), full(0)
    op = Weigh(ops)
    op.forward(a, out=out)
    steps = recorded(ops, lambda: op.forward(a, out=out), "conv1")
    op.forward(a, out=out)
    assert [(made.layer, made.name) for made in steps] == [("conv1", "Weigh.forward")]
    assert (out.read() == 6).all()


def test_calls_can_be_recorded_to_run_later() -> None:
    ops, a, out = NumpyOps(), full(3), full(0)
    op = Weigh(ops)
    steps = recorded(ops, lambda: op.forward(a, out=out), deferred=True)
    assert not out.read().any()
    for made in steps:
        made()
    assert (out.read() == 6).all()


def test_step_names_the_values_it_reads_writes_and_adds_to() -> None:
    ops, a, b, out, add = NumpyOps(), full(1), full(2), full(0), full(0)
    (made,) = recorded(ops, lambda: Weigh(ops).forward(a, [b, None], out=out, add=add))
    assert made.reads == (a, b, add)
    assert made.writes == (out, add)
    assert made.adds == (add,)


def test_values_given_by_name_and_left_out_ones() -> None:
    ops, a, b, out = NumpyOps(), full(1), full(2), full(0)
    (made,) = recorded(ops, lambda: Weigh(ops).forward(others=(b,), out=out, a=a))
    assert (made.reads, made.writes, made.adds) == ((a, b), (out,), ())


def test_replay_sees_new_content_and_the_state_of_the_op() -> None:
    ops, a, out = NumpyOps(), full(3), full(0)
    op = Weigh(ops)
    (made,) = recorded(ops, lambda: op.forward(a, out=out))
    a.write()[...] = 5
    op.factor = 10.0
    made()
    assert (out.read() == 50).all()


def test_replay_adds_again() -> None:
    ops, a, add = NumpyOps(), full(1), full(0)
    (made,) = recorded(ops, lambda: Weigh(ops).forward(a, out=full(0), add=add))
    made()
    made()
    assert (add.read() == 6).all()


@pytest.mark.parametrize("ops", [NumpyOps(), PaddedOps()])
def test_replay_reaches_memory_that_a_value_took_later(ops: Ops) -> None:
    a, out, other = full(3), full(0), full(9)
    (made,) = recorded(ops, lambda: ops.sum().forward([a, a], out=out))
    a.alias(other)
    made()
    assert (out.read() == 18).all()


def test_calls_within_a_step_are_part_of_it() -> None:
    ops, a, add = NumpyOps(), full(1), full(0)
    steps = recorded(ops, lambda: Twice(ops).forward(a, add=add))
    assert [made.name for made in steps] == ["Twice.forward"]
    for made in steps:
        made()
    assert (add.read() == 4).all()


def test_recording_goes_on_after_a_step_that_fails() -> None:
    ops, out = NumpyOps(), full(0)
    recorder = ops.recorder = Recorder()
    with pytest.raises(ValueError, match="as asked"):
        Failing(ops).forward(out=out)
    assert ops.recorder is recorder


def test_lease_is_settled_after_each_replay() -> None:
    ops, x, y = PaddedOps(), full(-1), full(0)
    (made,) = recorded(ops, lambda: ops.relu().forward(x, out=y))
    array = y.lease()
    x.write()[...] = 4
    made()
    np.testing.assert_array_equal(array, np.full((2, 3), 4))


def test_argument_that_the_method_lacks_is_a_programming_error() -> None:
    with pytest.raises(AssertionError, match="has no argument"):

        @step(reads="missing")
        def forward(self: Op, *, out: Value) -> None:
            """Never made."""


def test_program_stops_behind_a_step_that_changes_a_shape() -> None:
    epoch = Epoch()
    value = Value((2,), epoch=epoch)
    ran = []
    sizes = iter([2, 3])

    def grow() -> None:
        ran.append("data")
        value.reshape((next(sizes),))

    steps = [(0, Step(grow, (), ())), (1, Step(lambda: ran.append("next"), (), ()))]
    program = Program(steps, epoch.count)
    assert program.run(epoch) is None
    assert program.run(epoch) == 1
    assert ran == ["data", "next", "data"]
