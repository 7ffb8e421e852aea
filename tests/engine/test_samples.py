"""Naming the sample that a label comes from, through the layers between it and its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.errors import LabelError
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import ConcatGeometry
from tests.nets import make_net

SCORES = """layer { name: "s" type: "DummyData" top: "s" dummy_data_param { shape { %s } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "%s" top: "loss" }
"""


def message_of(
    folder: Path,
    labels: object,
    between: str = "",
    bottom: str = "label",
    scores: Sequence[int] = (4, 3),
    ops: Ops | None = None,
) -> str:
    """What a net says about labels in an HDF5 file, read 4 rows at a time; classes are 0 to 2."""
    with h5py.File(folder / "a.h5", "w") as file:
        file["label"] = np.asarray(labels, np.float32)
    (folder / "list.txt").write_text("a.h5\n")
    data = (
        'layer { name: "d" type: "HDF5Data" top: "label" '
        'hdf5_data_param { source: "list.txt" batch_size: 4 } }\n'
    )
    shape = " ".join(f"dim: {size}" for size in scores)
    text = data + between + SCORES % (shape, bottom)
    net = make_net(text, ops, folders=(folder,))
    with pytest.raises(LabelError) as caught:
        run(net, passes=3)
    return str(caught.value)


def run(net: Net, passes: int) -> None:
    for _ in range(passes):
        net.forward_backward()


@pytest.mark.parametrize("first", [0, 4, 8])
def test_recorded_and_replayed_passes_name_the_sample(tmp_path: Path, ops: Ops, first: int) -> None:
    labels = np.zeros(12)
    labels[first + 1] = 7
    message = message_of(tmp_path, labels, ops=ops)
    if ops.name == "padded":  # its ops see copies of the values, of which the net knows nothing
        assert "label of sample 1 of the batch: expected 0 to 2, got 7" in message
    else:
        assert f"label blob 'label', sample 1 of the batch (row {first + 1}, counted" in message


SPLIT = 'layer { name: "split" type: "Silence" bottom: "label" }\n'
FLATTEN = 'layer { name: "f" type: "Flatten" bottom: "label" top: "flat" }\n'
SLICE = """layer { name: "sl" type: "Slice" bottom: "label" top: "a" top: "b"
  slice_param { axis: %d slice_point: 1 } }
layer { name: "q" type: "Silence" bottom: "%s" }
"""
POWER = """layer { name: "p" type: "Power" bottom: "label" top: "label" power_param { shift: 1 } }
"""


def test_through_a_split(tmp_path: Path) -> None:
    message = message_of(tmp_path, [0, 0, 0, 5], SPLIT)
    assert "blob 'label', sample 3 of the batch (row 3, counted" in message


def test_through_a_slice_of_columns_and_in_place_arithmetic(tmp_path: Path) -> None:
    labels = [[0, 0], [0, 0], [9, 1], [0, 2]]
    message = message_of(tmp_path, labels, POWER + SLICE % (1, "a"), "b")
    assert "blob 'b', sample 3 of the batch (row 3, counted from 0, of dataset 'label'" in message
    assert "expected 0 to 2, got 3." in message


def test_through_a_slice_of_samples(tmp_path: Path) -> None:
    message = message_of(tmp_path, [9, 0, 5, 0], SLICE % (0, "a"), "b", (3, 3))
    assert "blob 'b', sample 1 of the batch (row 2, counted" in message


def test_through_a_view_that_joins_samples_and_positions(tmp_path: Path) -> None:
    labels = np.zeros((4, 2, 3))
    labels[2, 1, 0] = 5
    reshape = """layer { name: "r" type: "Reshape" bottom: "label" top: "all"
      reshape_param { shape { dim: -1 } } }
    """
    message = message_of(tmp_path, labels, reshape, "all", (24, 3))
    assert "blob 'all', sample 15 of the batch (row 2, counted" in message
    message = message_of(tmp_path, labels, FLATTEN, "flat", (4, 3, 6))
    assert "blob 'flat', sample 2 of the batch at (3,) (row 2, counted" in message


def test_through_a_concatenation(tmp_path: Path) -> None:
    join = """layer { name: "c" type: "DummyData" top: "c" dummy_data_param { shape { dim: 2 } } }
    layer { name: "j" type: "Concat" bottom: "c" bottom: "label" top: "j" concat_param { axis: 0 } }
    """
    message = message_of(tmp_path, [0, 0, 0, 5], join, "j", (6, 3))
    assert "blob 'j', sample 5 of the batch (row 3, counted" in message


def test_where_numbers_were_made_into_one_the_sample_of_the_blob_stays(tmp_path: Path) -> None:
    pool = """layer { name: "p" type: "Pooling" bottom: "label" top: "p"
      pooling_param { kernel_size: 2 } }
    """
    message = message_of(tmp_path, np.full((4, 1, 2, 2), 4), pool, "p")
    assert "label blob 'p', sample 0 of the batch: expected 0 to 2, got 4." in message


def test_made_up_labels_have_no_source(tmp_path: Path) -> None:
    dummy = """layer { name: "m" type: "DummyData" top: "m"
      dummy_data_param { shape { dim: 4 } data_filler { value: 3 } } }
    """
    message = message_of(tmp_path, [0, 0, 0, 0], dummy, "m")
    assert "label blob 'm', sample 0 of the batch: expected 0 to 2, got 3." in message


@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    before=st.lists(st.integers(1, 3), max_size=2),
    after=st.lists(st.integers(1, 3), max_size=2),
)
def test_places_in_parts_and_in_the_whole_fit_numpy(
    sizes: list[int], before: list[int], after: list[int]
) -> None:
    shapes = tuple((*before, size, *after) for size in sizes)
    geometry = ConcatGeometry(shapes, len(before))
    parts = [np.full(shape, part) for part, shape in enumerate(shapes)]
    whole = np.concatenate(parts, axis=len(before)).reshape(-1)
    numbers = [np.arange(part.size).reshape(part.shape) for part in parts]
    places = np.concatenate(numbers, axis=len(before)).reshape(-1)
    for place in range(whole.size):
        part, inside = geometry.in_part(place)
        assert (part, inside) == (whole[place], places[place])
        assert geometry.in_whole(part, inside) == place
