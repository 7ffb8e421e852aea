"""What LSTM and RNN layers have in common: their states, bottoms and shapes."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, NetError, ShapeError
from caffepy.engine.core.record import recorded
from caffepy.engine.ops.base import Ops
from tests.harness import compare, make_layer
from tests.recurrent import STATES, exposed_layer, layer, sequences

pytestmark = pytest.mark.parametrize(("kind", "states"), STATES.items())
States = tuple[str, ...]


def test_two_passes_equal_one_of_twice_the_length(kind: str, states: States, ops: Ops) -> None:
    x, cont = sequences(6, 2, 3)
    (expected,) = make_layer(layer(kind, 4), [x, cont], ops=ops).forward()
    run = make_layer(layer(kind, 4), [x[:3], cont[:3]], ops=ops)
    found = []
    for part in (slice(0, 3), slice(3, 6)):
        run.bottom[0].data.write()[...] = x[part]
        run.bottom[1].data.write()[...] = cont[part]
        found.append(run.forward()[0])
    compare(np.concatenate(found), expected, "in two passes")


def test_recorded_passes_carry_the_state_on(kind: str, states: States, ops: Ops) -> None:
    run = make_layer(layer(kind, 4), sequences(3, 2, 3), ops=ops)
    run.bottom[1].data.write()[...] = 1
    before = run.layer.state()
    steps = recorded(run.layer.ops, lambda: run.layer.forward(run.bottom, run.top))
    run.layer.restore(before)
    direct = [run.forward()[0] for _ in range(3)]
    assert (direct[0] != direct[1]).any()
    run.layer.restore(before)
    for expected in direct:
        for step in steps:
            step()
        np.testing.assert_array_equal(run.top[0].data.read(), expected)


def test_a_restored_state_continues_bit_for_bit(kind: str, states: States, ops: Ops) -> None:
    bottoms = sequences(3, 2, 3)
    bottoms[1][...] = 1
    run = make_layer(layer(kind, 4), bottoms, ops=ops)
    run.forward()
    state = run.layer.state()
    assert tuple(state) == states
    (expected,) = run.forward()
    other = make_layer(layer(kind, 4), bottoms, ops=ops)
    other.layer.restore(state)
    np.testing.assert_array_equal(other.forward()[0], expected)


def test_a_state_of_other_sequences_counts_where_the_next_pass_has_as_many(
    kind: str, states: States, ops: Ops
) -> None:
    few, many = sequences(3, 2, 3), sequences(3, 4, 3)
    few[1][...] = many[1][...] = 1
    run = make_layer(layer(kind, 4), few, ops=ops)
    run.forward()
    state = run.layer.state()
    (going_on,) = run.forward()
    for bottoms, expected in (
        (few, going_on),
        (many, make_layer(layer(kind, 4), many, ops=ops).forward()[0]),
    ):
        other = make_layer(layer(kind, 4), many, ops=ops)
        recorded_at = other.layer.context.epoch.count
        other.layer.restore(state)
        assert other.layer.context.epoch.count > recorded_at
        for blob, array in zip(other.bottom, bottoms, strict=True):
            blob.reshape(array.shape)
            blob.data.write()[...] = array
        np.testing.assert_array_equal(other.forward()[0], expected)


def test_a_state_that_does_not_fit_is_refused(kind: str, states: States) -> None:
    state = make_layer(layer(kind, 4), sequences(3, 2, 3)).layer.state()
    small = make_layer(layer(kind, 3), sequences(3, 2, 3))
    with pytest.raises(DataError, match=r"state 'h' .*: expected shape \(2, 3\), got \(2, 4\)"):
        small.layer.restore(state)
    with pytest.raises(DataError, match="got None"):
        small.layer.restore({})


def test_other_numbers_of_steps_and_sequences_are_followed(
    kind: str, states: States, ops: Ops
) -> None:
    run = make_layer(layer(kind, 4), sequences(3, 2, 3), ops=ops)
    run.forward()
    for shape in ((5, 2, 3), (2, 4, 3), (2, 0, 3), (1, 1, 3)):
        for blob, array in zip(run.bottom, sequences(*shape), strict=True):
            blob.reshape(array.shape)
            blob.data.write()[...] = array
        (top,) = run.forward()
        assert top.shape == (*shape[:2], 4)
        run.top[0].diff.write()[...] = 1
        run.backward([True, False])
    (fresh,) = make_layer(layer(kind, 4), sequences(1, 1, 3), ops=ops).forward()
    np.testing.assert_array_equal(top, fresh)  # other sequences: the states began as 0


def test_exposed_states_are_given_and_returned(kind: str, states: States, ops: Ops) -> None:
    x, cont = sequences(4, 2, 3)
    cont[...] = 1
    whole = make_layer(layer(kind, 4), [x, cont], ops=ops)
    expected = whole.forward()[0][2:]
    last = whole.layer.state()
    text = exposed_layer(kind, 4)
    given = [np.zeros((1, 2, 4))] * len(states)
    for part in (slice(0, 2), slice(2, 4)):
        run = make_layer(text, [x[part], cont[part], *given], ops=ops)
        found, *given = run.forward()
        assert not run.layer.state()
    compare(found, expected, "the second half")
    for array, name in zip(given, states, strict=True):
        compare(array[0], last[name], name)
    for blob in (*run.bottom, *run.top):
        blob.diff.write()[...] = 7
    run.backward([True, False] + [True] * len(states))
    for blob in run.bottom[2:]:
        assert not blob.diff.read().any()


def test_frozen_parameters_get_no_gradient(kind: str, states: States, ops: Ops) -> None:
    run = make_layer(layer(kind, 4), [*sequences(3, 2, 3), np.ones((2, 2))], ops=ops)
    run.bottom[1].data.write()[...] = 1
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward([True, False, True])
    free = [blob.diff.read().copy() for blob in run.layer.blobs]
    assert all(gradient.any() for gradient in free)
    for frozen in range(len(free)):
        run.layer.param_propagate_down = [index != frozen for index in range(len(free))]
        run.backward([False, False, False])
        for index, blob in enumerate(run.layer.blobs):
            expected = 0 if index == frozen else free[index]
            np.testing.assert_array_equal(blob.diff.read(), expected)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 2), (3, 2)], r"'bottom_0': expected at least 3 axes"),
        ([(0, 2, 3), (0, 2)], r"'bottom_0': expected at least 1 step"),
        ([(3, 2, 4), (3,)], r"'bottom_1': expected shape \(3, 2\)"),
        ([(3, 2, 4), (3, 2), (3, 2)], r"'bottom_2', the static input: expected at least 2 axes"),
        ([(3, 2, 4), (3, 2), (2,)], r"'bottom_2', the static input: expected at least 2 axes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    kind: str, states: States, shapes: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        make_layer(layer(kind, 5), [np.ones(shape) for shape in shapes])


def test_blobs_that_do_not_suit_expose_hidden_are_refused(kind: str, states: States) -> None:
    count = len(states)
    x, cont = sequences(3, 2, 3)
    text = layer(kind, 4, "expose_hidden: true")
    message = f"expected {2 + count} bottoms, or {3 + count} with a static input, and {1 + count}"
    with pytest.raises(NetError, match=message):
        make_layer(text, [x, cont])
    with pytest.raises(NetError, match="expected 2 bottoms, or 3 with a static input, and 1 top"):
        make_layer('top: "a" top: "b"' + layer(kind, 4), [x, cont])
    with pytest.raises(ShapeError, match=r"a state: expected shape \(1, 2, 4\)"):
        make_layer(exposed_layer(kind, 4), [x, cont, *[np.ones((1, 2, 3))] * count])


def test_what_else_does_not_fit_is_refused(kind: str, states: States) -> None:
    with pytest.raises(NetError, match=r"recurrent_param\.num_output: expected at least 1, got 0"):
        make_layer(layer(kind, 0), sequences(3, 2, 3))
    run = make_layer(layer(kind, 4), [*sequences(3, 2, 3), np.ones((2, 2))])
    with pytest.raises(NetError, match="cont has no gradient"):
        run.layer.backward(run.top, [True, True, True], run.bottom)
    assert [run.layer.allow_force_backward(index) for index in range(3)] == [True, False, True]
    for index, shape in ((2, (2, 5)), (0, (3, 2, 5))):
        run.bottom[index].reshape(shape)
        with pytest.raises(ShapeError, match=f"'bottom_{index}': expected . features, as when"):
            run.layer.reshape(run.bottom, run.top)
        run.layer.forget_shapes()
