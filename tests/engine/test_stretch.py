"""Stretches: values side by side in one piece of memory, in layouts of their own."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from caffepy.engine.core.aligned import ALIGNMENT, address
from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.value import Value
from caffepy.engine.stretch import Stretch
from tests.engine.ops.test_update import REVERSED, values


def made(dtype: type = np.float32) -> list[Value]:
    """One value at home in plain memory, one in another layout, one that was never written."""
    found = values((3, 5), dtype, PLAIN, 1) + values((2, 7), dtype, REVERSED, 1)
    return [*found, Value((4,), dtype)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contents_stay_and_lie_aligned_with_zeros_between(dtype: type) -> None:
    members = made(dtype)
    before = [value.read().copy() for value in members]
    stretch = Stretch(members)
    assert stretch.open(change=False)
    whole = stretch.whole.read()
    unit = ALIGNMENT // whole.itemsize
    assert whole.size == sum(-(-count // unit) * unit for count in (15, 16, 4))
    assert np.count_nonzero(whole) == 15 + 14
    assert address(whole) % ALIGNMENT == address(members[0].read()) % ALIGNMENT == 0
    for value, content in zip(members, before, strict=True):
        np.testing.assert_array_equal(value.read(), content)


def test_changes_of_the_whole_change_the_values_and_the_other_way_round() -> None:
    members = made()
    before = [value.read().copy() for value in members]
    stretch = Stretch(members)
    for factor in (2, 4):
        assert stretch.open(change=True)
        elements = stretch.whole.modify()
        elements *= 2
        stretch.close()
        for value, content in zip(members, before, strict=True):
            np.testing.assert_array_equal(value.read(), factor * content)
    members[1].write()[...] = 7
    assert stretch.open(change=False)
    assert np.count_nonzero(stretch.whole.read() == 7) == members[1].count


def test_an_op_may_write_the_whole_in_any_layout() -> None:
    members = made()
    stretch = Stretch(members)
    for number in (3, 5):
        stretch.open(change=True)
        REVERSED.load(np.full(stretch.whole.shape, number), stretch.whole.write(REVERSED))  # type: ignore[arg-type]
        stretch.close()
        assert all((value.read() == number).all() for value in members)


def test_a_lease_taken_later_shows_changes_and_is_seen() -> None:
    members = made()
    stretch = Stretch(members)
    leases = [value.lease() for value in members]
    for lease in leases:
        lease[...] = 3
    stretch.open(change=True)
    elements = stretch.whole.modify()
    elements += 1
    stretch.close()
    for lease in leases:
        np.testing.assert_array_equal(lease, 4)


def test_a_value_that_got_other_memory_is_noticed() -> None:
    members = made()
    stretch = Stretch(members)
    other = Value(members[1].shape)
    members[1].alias(other)
    assert not stretch.open(change=False)


def test_memory_of_before_is_given_back() -> None:
    value = values((3, 5), np.float32, REVERSED, 1)[0]
    old = weakref.ref(value.read())
    value.read(REVERSED)
    Stretch([value])
    gc.collect()
    assert old() is None
    assert value._storage.plain is None


def test_content_keeps_no_plain_memory_and_a_dropped_one_comes_back() -> None:
    value = values((3, 5), np.float32, REVERSED, 1)[0]
    expected = value.read().copy()
    value.drop_plain()
    np.testing.assert_array_equal(value.read(), expected)  # nothing else held the content
    value.read(REVERSED)
    value.drop_plain()
    assert value._storage.plain is None
    np.testing.assert_array_equal(value.content(), expected)
    assert value._storage.plain is None
    lease = value.lease()
    value.drop_plain()
    lease += 1
    np.testing.assert_array_equal(value.content(), expected + 1)


def test_what_was_never_written_is_zero_in_every_layout() -> None:
    value = Value((3, 5))
    assert not REVERSED.elements(value.read(REVERSED)).any()  # type: ignore[arg-type]
    assert value._storage.plain is None
    value.modify(REVERSED)[1] = 9  # type: ignore[arg-type]
    value.clear()
    assert not value.read(REVERSED).any()  # type: ignore[arg-type]
