"""Blob and BlobVec, as Python code sees them."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core import blob as core
from caffepy.engine.core.errors import DeviceError, ShapeError
from caffepy.engine.pyblob import Blob, BlobVec
from tests.padded_ops import PADDED

SHAPE = (2, 3, 2, 2)


@pytest.fixture
def blob() -> core.Blob:
    """Its data is 1, as a backend left it in a layout of its own; its diff was never written."""
    made = core.Blob("x", SHAPE)
    PADDED.load(np.ones(SHAPE, np.float32), made.data.write(PADDED))
    return made


def test_arrays_are_the_blobs_memory(blob: core.Blob) -> None:
    shown = Blob(blob)
    assert (shown.data.dtype, shown.data.shape) == (np.float32, SHAPE)
    shown.data[0] = 5
    shown.data[...] *= 2
    shown.data += 1
    np.testing.assert_array_equal(blob.data.read()[0], np.full(SHAPE[1:], 11))
    np.testing.assert_array_equal(blob.data.read()[1], np.full(SHAPE[1:], 3))
    assert not shown.diff.any()
    shown.diff.flat = range(24)
    np.testing.assert_array_equal(blob.diff.read().reshape(-1), np.arange(24))


@pytest.mark.parametrize("value", [3, np.zeros(SHAPE, np.float32), None])
def test_an_array_is_not_replaced(blob: core.Blob, value: object) -> None:
    shown = Blob(blob)
    with pytest.raises(
        AttributeError, match=r"blob 'x': data is the net's memory .* data\[\.\.\.\]"
    ):
        shown.data = value  # type: ignore[assignment]
    with pytest.raises(AttributeError, match="blob 'x': diff is"):
        shown.diff = value  # type: ignore[assignment]
    np.testing.assert_array_equal(blob.data.read(), np.ones(SHAPE))


@pytest.mark.parametrize(
    ("shape", "legacy"),
    [((), (1, 1, 1, 1)), ((5,), (5, 1, 1, 1)), ((5, 4, 3), (5, 4, 3, 1)), (SHAPE, SHAPE)],
)
def test_sizes_have_the_names_of_four_axes(
    shape: tuple[int, ...], legacy: tuple[int, int, int, int]
) -> None:
    shown = Blob(core.Blob("x", shape))
    assert (shown.num, shown.channels, shown.height, shown.width) == legacy
    assert tuple(shown.shape) == shape
    assert shown.count == np.prod(legacy)


def test_a_fifth_axis_has_no_name() -> None:
    shown = Blob(core.Blob("x", (1, 2, 3, 4, 5)))
    for name in ("num", "channels", "height", "width"):
        with pytest.raises(ShapeError, match=f"'x': {name}: expected at most 4 axes, got shape"):
            getattr(shown, name)


def test_reshape_takes_one_whole_number_per_axis(blob: core.Blob) -> None:
    shown = Blob(blob)
    shown.reshape(np.int64(4), 6)
    assert blob.shape == (4, 6)
    np.testing.assert_array_equal(shown.data, np.ones((4, 6)))
    shown.reshape()
    assert blob.shape == ()
    for sizes in ((1.5,), ((2, 3),), ("2",)):
        with pytest.raises(TypeError, match="expected whole numbers, one per axis, got"):
            shown.reshape(*sizes)
    with pytest.raises(ShapeError, match="expected sizes from 0 up"):
        shown.reshape(-1)
    assert blob.shape == ()


def test_there_are_no_device_pointers(blob: core.Blob) -> None:
    shown = Blob(blob)
    with pytest.raises(DeviceError, match=r"blob 'x': _gpu_data_ptr: .*array in data\."):
        _ = shown._gpu_data_ptr
    with pytest.raises(DeviceError, match=r"blob 'x': _gpu_diff_ptr: .*array in diff\."):
        _ = shown._gpu_diff_ptr


def test_learnable_blobs_are_a_sequence_that_grows() -> None:
    blobs: list[core.Blob] = []
    shown = BlobVec(blobs, lambda shape: blobs.append(core.Blob("w", shape)))
    assert len(shown) == 0
    shown.add_blob(2, 3)
    first = shown[0]
    shown.add_blob(np.int32(4))
    assert [blob.shape for blob in shown] == [(2, 3), (4,)]
    assert shown[0] is first
    assert shown[-1].shape == (4,)
    assert [blob.shape for blob in shown[:1]] == [(2, 3)]
    with pytest.raises(IndexError):
        shown[2]


def test_blobs_of_a_net_that_is_built_are_not_added_to() -> None:
    with pytest.raises(RuntimeError, match=r"add_blob\(3,\): a layer takes learnable blobs in its"):
        BlobVec([]).add_blob(3)
