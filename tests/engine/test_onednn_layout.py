"""Values in the layouts of oneDNN: conversions, padding, aliases, leases, clearing."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.value import Value
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Pass, Primitive, describe
from caffepy.engine.ops.onednn.layout import BlockedLayout, layout_of
from caffepy.engine.ops.onednn.library import available

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

SHAPE = (2, 20, 5, 7)  # 20 channels: blocks of 8 and of 16 need padding


def convolution(channels: int = 20, outputs: int = 24) -> Primitive:
    """A convolution that chooses its layouts; x is (2, channels, 5, 7)."""
    return describe(
        "convolution_forward", Pass.FORWARD_TRAINING, Algorithm.CONVOLUTION_DIRECT,
        Descriptor.any((2, channels, 5, 7)), Descriptor.any((outputs, channels, 3, 3)), None,
        Descriptor.any((2, outputs, 3, 5)), (1, 1), (0, 0), (0, 0), (0, 0),
    )  # fmt: skip


def blocked(dims: tuple[int, ...] = SHAPE) -> Layout:
    """Channels last, with room for four more channels."""
    room = dims[1] + 4
    sizes = (*dims[2:], room)
    strides = [int(np.prod(sizes[axis + 1 :])) for axis in range(len(dims) - 2)]
    return layout_of(Descriptor.plain(dims, (int(np.prod(sizes)), 1, *strides)))


def numbers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(dims=st.lists(st.integers(1, 9), min_size=3, max_size=5).map(tuple))
def test_a_round_trip_keeps_every_element(dims: tuple[int, ...]) -> None:
    x, layout = numbers(dims), blocked(dims)
    value, back = Value(dims), np.zeros(dims, np.float32)
    value.write()[...] = x
    layout.store(value.modify(layout), back)
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(value.read(), x)


def test_the_layouts_of_primitives_keep_padding_zero() -> None:
    weights = layout_of(convolution().argument(Arg.WEIGHTS))
    w = numbers((24, 20, 3, 3))
    value = Value(w.shape)
    value.write()[...] = w
    elements = weights.elements(value.modify(weights))
    assert elements.sum() == pytest.approx(w.sum(), abs=1e-3)
    elements *= 2
    np.testing.assert_array_equal(value.read(), 2 * w)


@pytest.mark.usefixtures("wide_vectors")
def test_equal_descriptors_have_one_layout() -> None:
    first, second = convolution(), convolution()
    assert layout_of(first.argument(Arg.WEIGHTS)) is layout_of(second.argument(Arg.WEIGHTS))
    other = convolution(outputs=40)
    assert layout_of(other.argument(Arg.WEIGHTS)) != layout_of(first.argument(Arg.WEIGHTS))


def test_a_layout_goes_with_the_last_value_that_uses_it() -> None:
    value = Value(SHAPE)
    value.write(blocked())
    known = weakref.ref(blocked())
    assert known() is value.fresh_layout
    del value
    gc.collect()
    assert known() is None


def test_c_order_is_the_plain_layout() -> None:
    assert layout_of(Descriptor.plain(SHAPE)) is PLAIN
    assert isinstance(blocked(), BlockedLayout)


def test_swapped_axes_are_laid_out_against_the_plain_memory() -> None:
    x = numbers((3, 5))
    value = Value((3, 5))
    value.write()[...] = x
    seen_transposed = Descriptor.plain((5, 3), (1, 5))
    assert layout_of(Descriptor.plain((5, 3), (1, 5)), seen_transposed) is PLAIN
    layout = layout_of(Descriptor.plain((5, 3)), seen_transposed)
    np.testing.assert_array_equal(value.read(layout).reshape(5, 3), x.T)


def test_layouts_convert_directly() -> None:
    x, source = numbers(SHAPE), blocked()
    target = layout_of(convolution().argument(Arg.SOURCE))
    if target is PLAIN:
        target = layout_of(Descriptor.plain(SHAPE, (700, 35, 1, 5)))
    value = Value(SHAPE)
    source.load(x, value.write(source))
    value.read(target)
    assert not value._storage.plain_is_fresh
    back = np.zeros_like(x)
    target.store(value.read(target), back)
    np.testing.assert_array_equal(back, x)


def test_other_axes_convert_through_plain_memory() -> None:
    x, layout = numbers((4, 3, 2, 2)), blocked((4, 3, 2, 2))
    groups = layout_of(Descriptor.plain((2, 2, 3, 2, 2), (24, 1, 2, 6, 12)))
    value = Value((4, 3, 2, 2))
    layout.load(x, value.write(layout))
    value.modify(groups)
    np.testing.assert_array_equal(value.read(), x)


def test_an_alias_of_another_shape_sees_what_was_written_blocked() -> None:
    x, layout = numbers(SHAPE), blocked()
    value = Value(SHAPE)
    flat = value.viewed((2, 700))
    layout.load(x, value.write(layout))
    np.testing.assert_array_equal(flat.read(), x.reshape(2, 700))
    assert (value.fresh_layout, flat.fresh_layout) == (layout, PLAIN)
    flat.write()[...] = 3
    assert value.fresh_layout is PLAIN
    np.testing.assert_array_equal(value.read(layout)[layout_mask(layout, SHAPE)], 3)


def layout_mask(layout: Layout, shape: tuple[int, ...]) -> np.ndarray:
    """Where elements, not padding, lie."""
    buffer = layout.allocate(shape, np.dtype(np.float32))
    layout.load(np.ones(shape, np.float32), buffer)
    return buffer == 1


def test_a_lease_sees_blocked_writes_and_blocked_reads_see_the_lease() -> None:
    x, layout = numbers(SHAPE), blocked()
    value = Value(SHAPE)
    value.read(layout)
    lease = value.lease()
    lease[...] = x
    back = np.zeros_like(x)
    layout.store(value.read(layout), back)
    np.testing.assert_array_equal(back, x)
    layout.load(2 * x, value.write(layout))
    value.settle()
    np.testing.assert_array_equal(lease, 2 * x)
    assert value.fresh_layout is PLAIN


def test_reading_plain_does_not_change_the_layout_of_the_last_write() -> None:
    value, layout = Value(SHAPE), blocked()
    layout.load(numbers(SHAPE), value.write(layout))
    value.read()
    assert value.fresh_layout is layout


@pytest.mark.parametrize("leased", [False, True])
def test_a_cleared_value_is_zero_in_every_layout(leased: bool) -> None:
    value, layout = Value(SHAPE), blocked()
    layout.load(numbers(SHAPE), value.write(layout))
    lease = value.lease() if leased else None
    value.clear()
    assert value.allocated == leased
    assert not value.read(layout).any()
    assert not value.read().any()
    assert lease is None or not lease.any()
