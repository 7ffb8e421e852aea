"""Value: memory in several layouts, aliases, leases."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import OutOfMemoryError
from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.pool import Pool
from caffepy.engine.core.value import Epoch, Value
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.padded_ops import PADDED, PaddedLayout, PaddedOps

SHAPE = (2, 3, 2, 2)
NUMBERS = np.arange(24, dtype=np.float32).reshape(SHAPE)


@pytest.fixture
def value() -> Value:
    """Holds NUMBERS in plain memory."""
    made = Value(SHAPE)
    made.write()[...] = NUMBERS
    return made


def padded(value: Value) -> np.ndarray:
    """The content of the value's padded copy, in plain order."""
    plain = np.empty(value.shape, value.dtype)
    PADDED.store(value.read(PADDED), plain)
    return plain


def write_padded(value: Value, numbers: np.ndarray) -> None:
    PADDED.load(numbers, value.write(PADDED))


# ---- layouts


def test_what_was_never_written_is_zero() -> None:
    value = Value((2, 3), np.float64)
    assert not value.allocated
    np.testing.assert_array_equal(padded(value), np.zeros((2, 3)))
    np.testing.assert_array_equal(value.read(), np.zeros((2, 3)))
    assert value.read().dtype == np.float64


def test_content_is_the_same_in_every_layout(value: Value) -> None:
    np.testing.assert_array_equal(padded(value), NUMBERS)
    write_padded(value, -NUMBERS)
    np.testing.assert_array_equal(value.read(), -NUMBERS)


def test_layout_is_converted_once_per_write(value: Value, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = PaddedLayout.load
    monkeypatch.setattr(
        PaddedLayout, "load", lambda *arguments: (loads.append(1), load(*arguments))
    )
    assert value.read(PADDED) is value.read(PADDED)
    assert len(loads) == 1
    value.write()[...] = 0
    value.read(PADDED)
    assert len(loads) == 2


def test_modify_keeps_the_content_and_outdates_other_layouts(value: Value) -> None:
    value.read(PADDED)
    value.modify()[0] = 7
    np.testing.assert_array_equal(padded(value)[0], np.full(SHAPE[1:], 7))
    np.testing.assert_array_equal(padded(value)[1], NUMBERS[1])
    value.modify(PADDED)[...] = 8
    np.testing.assert_array_equal(value.read(), np.full(SHAPE, 8))


def test_a_buffer_is_taken_again_only_where_that_is_no_work(value: Value) -> None:
    key = PADDED, PADDED.key(value.shape)
    buffer, before = value.read(PADDED), value.version
    assert value.retake(key, buffer, change=False)
    assert value.version == before
    assert value.retake(key, buffer, change=True)
    assert value.version > before
    assert value.fresh_layout is PADDED
    assert not value.on_host
    value.modify()[0] = 5
    assert not value.retake(key, buffer, change=True)
    assert value.modify(PADDED) is buffer
    assert not value.retake(key, buffer.copy(), change=False)
    lease = value.lease()
    assert not value.retake(key, buffer, change=False)
    del lease


def test_layouts_convert_directly_where_they_can(
    value: Value, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = PaddedLayout()
    write_padded(value, NUMBERS + 1)

    def convert(self: PaddedLayout, source: PaddedLayout, content: object, buffer: object) -> bool:
        assert (self, source) == (other, PADDED)
        np.copyto(buffer, content)
        return True

    def refuse(*arguments: object) -> None:
        raise AssertionError("went through plain memory")

    monkeypatch.setattr(PaddedLayout, "convert", convert)
    monkeypatch.setattr(PaddedLayout, "store", refuse)
    np.testing.assert_array_equal(value.read(other), value.read(PADDED))


def test_version_grows_with_every_write(value: Value) -> None:
    versions = [value.version]
    value.read(PADDED)
    assert value.version == versions[0]
    for write in (value.write, value.modify, lambda: value.write(PADDED)):
        write()
        versions.append(value.version)
    assert versions == sorted(set(versions))


def test_version_is_new_after_a_lease_in_which_it_may_have_been_written(value: Value) -> None:
    array = value.lease()
    during = value.version
    array[...] = 0
    del array
    assert value.version > during
    assert value.version == value.version


def test_cleared_value_is_zero_without_touching_memory(value: Value) -> None:
    write_padded(value, NUMBERS)
    version = value.version
    value.clear()
    assert not value.allocated
    assert value.version > version
    np.testing.assert_array_equal(padded(value), np.zeros(SHAPE))
    np.testing.assert_array_equal(value.read(), np.zeros(SHAPE))


def test_fresh_layout_is_that_of_the_last_write(value: Value) -> None:
    value.read(PADDED)
    assert value.fresh_layout is PLAIN
    value.write(PADDED)
    value.read()
    assert value.fresh_layout is PADDED
    assert value.viewed((24,)).fresh_layout is PLAIN
    value.write()
    assert value.fresh_layout is PLAIN


def test_fresh_layout_of_a_leased_value_is_plain(value: Value) -> None:
    array = value.lease()
    write_padded(value, NUMBERS)
    assert value.fresh_layout is PLAIN
    del array


def test_first_preferred_layout_becomes_the_home(value: Value) -> None:
    assert value.home is PLAIN
    value.prefer(PADDED)
    value.prefer(PLAIN)
    assert value.home is PADDED


# ---- shapes


def test_reshape_keeps_the_content_in_order(value: Value) -> None:
    write_padded(value, NUMBERS)
    assert value.reshape((4, 6))
    assert not value.reshape((4, 6))
    np.testing.assert_array_equal(value.read(), NUMBERS.reshape(4, 6))
    np.testing.assert_array_equal(padded(value), NUMBERS.reshape(4, 6))


def test_value_that_shrinks_and_grows_keeps_its_elements(value: Value) -> None:
    value.reshape((1, 3, 2, 2))
    np.testing.assert_array_equal(value.read(), NUMBERS[:1])
    value.reshape((3, 3, 2, 2))
    np.testing.assert_array_equal(value.read()[:2], NUMBERS)
    np.testing.assert_array_equal(value.read()[2], np.zeros(SHAPE[1:]))


def test_scalar_has_one_element() -> None:
    value = Value()
    assert (value.shape, value.count) == ((), 1)
    value.write()[...] = 3
    assert value.read() == 3
    assert padded(value) == 3


def test_epoch_counts_changes_of_shape_only() -> None:
    epoch = Epoch()
    value = Value((2, 3), epoch=epoch)
    value.write()
    value.reshape((2, 3))
    assert epoch.count == 0
    value.reshape((3, 2))
    assert epoch.count == 1


# ---- aliases


def test_alias_is_the_same_memory_in_another_shape(value: Value) -> None:
    alias = value.viewed((2, 12))
    assert alias.shares_memory_with(value)
    write_padded(alias, NUMBERS.reshape(2, 12) * 2)
    np.testing.assert_array_equal(padded(value), NUMBERS * 2)
    value.modify(PADDED)[...] = 5
    np.testing.assert_array_equal(padded(alias), np.full((2, 12), 5))
    alias.write()[...] = 6
    np.testing.assert_array_equal(value.read(), np.full(SHAPE, 6))


def test_alias_taken_before_the_first_write_follows() -> None:
    value, alias = Value((2, 3)), Value((6,))
    alias.alias(value, (6,))
    value.write()[...] = 4
    np.testing.assert_array_equal(alias.read(), np.full(6, 4))


def test_alias_follows_when_the_other_grows(value: Value) -> None:
    alias = value.viewed((2, 12))
    value.reshape((4, 3, 2, 2))
    value.write()[...] = 9
    np.testing.assert_array_equal(alias.read(), np.full((2, 12), 9))


def test_values_are_apart_after_one_takes_other_memory(value: Value) -> None:
    alias, other = value.viewed(SHAPE), Value(SHAPE)
    alias.alias(other)
    alias.write()[...] = 0
    np.testing.assert_array_equal(value.read(), NUMBERS)
    assert not alias.shares_memory_with(value)


def test_blob_alias_shares_data_and_diff() -> None:
    blob, view = Blob("a", (2, 3)), Blob("b")
    view.alias(blob, (6,))
    view.data.write()[...] = 1
    view.diff.write()[...] = 2
    np.testing.assert_array_equal(blob.data.read(), np.full((2, 3), 1))
    np.testing.assert_array_equal(blob.diff.read(), np.full((2, 3), 2))


def test_move_to_an_arena_keeps_content_and_aliases(value: Value) -> None:
    alias = value.viewed((24,))
    alias.read()
    write_padded(value, NUMBERS + 1)
    arena = np.zeros(30, np.float32)
    value.move_to(arena[3:27])
    np.testing.assert_array_equal(arena[3:27].reshape(SHAPE), NUMBERS + 1)
    alias.write()[...] = 7
    np.testing.assert_array_equal(arena, [0] * 3 + [7] * 24 + [0] * 3)
    np.testing.assert_array_equal(padded(value), np.full(SHAPE, 7))


# ---- leases


def test_lease_shows_the_content_and_ends_with_its_last_array(value: Value) -> None:
    write_padded(value, NUMBERS)
    array = value.lease()
    np.testing.assert_array_equal(array, NUMBERS)
    assert value.leased
    del array
    gc.collect()
    assert not value.leased


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[1, 2:],
        lambda array: array.reshape(-1)[::2],
        lambda array: array.T[0][0],
        lambda array: np.asarray(array).view(np.int32),
        memoryview,
    ],
)
def test_view_of_a_leased_array_keeps_the_lease_alive(value: Value, view: object) -> None:
    kept = view(value.lease())
    gc.collect()
    assert value.leased
    del kept
    gc.collect()
    assert not value.leased


def test_write_through_a_lease_is_seen_in_every_layout(value: Value) -> None:
    value.read(PADDED)
    array = value.lease()
    for number in (5, 6):
        array[...] = number
        np.testing.assert_array_equal(padded(value), np.full(SHAPE, number))
        np.testing.assert_array_equal(value.read(), np.full(SHAPE, number))


def test_write_through_a_view_of_an_alias_is_seen(value: Value) -> None:
    view = value.viewed((24,)).lease()[20:]
    value.read(PADDED)
    view[...] = -1
    np.testing.assert_array_equal(padded(value).reshape(-1)[20:], [-1] * 4)


def test_lease_shows_that_the_value_was_cleared(value: Value) -> None:
    array = value.lease()
    value.clear()
    np.testing.assert_array_equal(array, np.zeros(SHAPE))


def test_last_write_through_a_lease_counts_after_its_end(value: Value) -> None:
    array = value.lease()
    value.read(PADDED)
    array[...] = 9
    del array
    gc.collect()
    np.testing.assert_array_equal(padded(value), np.full(SHAPE, 9))


def test_conversions_stop_when_the_lease_ends(value: Value) -> None:
    array = value.lease()
    assert value.version != value.version
    del array
    gc.collect()
    assert value.version == value.version
    value.read(PADDED)[...] = 3  # were it converted again, this would be lost
    assert (value.read(PADDED) == 3).all()


def test_lease_shows_what_steps_write_in_another_layout() -> None:
    ops = PaddedOps()
    x, y = Value(SHAPE), Value(SHAPE)
    x.write()[...] = NUMBERS - 10
    array = y.lease()
    ops.relu().forward(x, out=y)
    np.testing.assert_array_equal(array, np.maximum(NUMBERS - 10, 0))
    assert not np.isnan(array).any()


def test_leases_of_one_value_are_one_memory(value: Value) -> None:
    first, second = value.lease(), value.viewed((24,)).lease()
    first[...] = 2
    np.testing.assert_array_equal(second, np.full(24, 2))


def test_array_kept_longer_than_its_value_is_safe() -> None:
    value = Value((1000, 1000))
    value.write()[...] = 3
    array = value.lease()
    del value
    gc.collect()
    others = [np.full((1000, 1000), 7, np.float32) for _ in range(3)]
    assert (array == 3).all()
    del others


def test_array_kept_over_growth_shows_the_old_memory(value: Value) -> None:
    array = value.lease()
    value.reshape((4, 3, 2, 2))
    value.write()[...] = 1
    np.testing.assert_array_equal(array, NUMBERS)
    assert not value.leased


def test_lease_of_an_empty_value() -> None:
    value = Value((0, 3))
    assert value.lease().shape == (0, 3)
    assert value.read(PADDED).size == 2


@pytest.mark.parametrize("ops", [NumpyOps(np.float64), PaddedOps(np.float64)])
def test_in_place_step_on_a_leased_value(ops: NumpyOps) -> None:
    value = Value(SHAPE, np.float64)
    array = value.lease()
    array[...] = NUMBERS - 10
    ops.relu().forward(value, out=value)
    np.testing.assert_array_equal(array, np.maximum(NUMBERS - 10, 0))


@pytest.mark.parametrize("aliased", [False, True])
def test_memory_that_a_value_gave_back_is_free(aliased: bool) -> None:
    value = Value((3, 4))
    value.write()[...] = 5
    other = value.viewed((12,)) if aliased else value
    other.read()
    old = weakref.ref(value._storage.plain)
    value.move_to(np.zeros(12, np.float32))
    assert old() is None
    assert (other.read() == 5).all()


def _halve(value: Value, copy: Value) -> None:
    copy.write()[...] = value.read().reshape(-1)


def test_a_rounded_copy_is_made_once_for_each_write() -> None:
    made: list[Value] = []

    def make(value: Value, copy: Value) -> None:
        made.append(copy)
        _halve(value, copy)

    value = Value((2, 3))
    value.write()[...] = 1 + 2.0**-12
    assert value.rounding is None
    first = value.rounded(np.float16, make)
    assert value.viewed((3, 2)).rounded(np.float16, make) is first
    np.testing.assert_array_equal(first.copy.read(), np.ones(6))
    np.testing.assert_array_equal(value.read(), np.full((2, 3), 1 + 2.0**-12, np.float32))
    assert len(made) == 1
    value.modify()[...] += 1
    assert value.rounding is None
    assert value.rounded(np.float16, make) is first
    assert first.copy.read()[0] == 2
    assert made == [first.copy] * 2
    value.write()
    value.confirm(first)  # by who has made it in another way
    assert value.rounding is first


def test_a_value_that_python_holds_is_rounded_for_each_use() -> None:
    value = Value((2,))
    held = value.lease()
    for number in (1, 2):
        held[...] = number
        assert value.rounded(np.float16, _halve).copy.read()[0] == number
    del held
    assert value.rounded(np.float16, _halve) is value.rounding


def test_a_rounded_copy_shares_the_pool_of_its_value() -> None:
    pool, value = Pool(), Value((4,))
    value.borrow(pool)
    for number in (1, 2):
        value.write()[...] = number
        copy = value.rounded(np.float16, _halve).copy
        assert copy.read().tolist() == [number] * 4
        value.release()
        assert value.rounding is None
        assert pool.free_bytes == 4 * (4 + 2)
    other = Value((4,), np.int32)  # in the same block as `value`, as numbers of its own kind
    other.borrow(pool)
    other.write()[...] = -1
    assert other.read().dtype == np.int32


def test_a_value_of_another_shape_is_rounded_anew() -> None:
    value = Value((4,))
    value.write()[...] = 1
    value.rounded(np.float16, _halve)
    value.reshape((6,))
    assert value.rounding is None
    assert value.rounded(np.float16, _halve).copy.count == 6


def test_a_value_keeps_its_content_where_there_is_no_memory_to_write_it(value: Value) -> None:
    class Full(PaddedLayout):
        def allocate(self, *_: object) -> np.ndarray:
            raise OutOfMemoryError("device", 96, 0)

    with pytest.raises(OutOfMemoryError):
        value.write(Full())
    np.testing.assert_array_equal(value.read(), NUMBERS)
