"""MemoryData."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffepy.pycaffe as caffe
from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import make_layer

PARAM = "batch_size: 2 channels: 3 height: 4 width: 5"
DATA = np.arange(4 * 60, dtype=np.float32).reshape(4, 3, 4, 5)


def definition(fields: str = PARAM, more: str = "") -> str:
    return (
        'name: "m" type: "MemoryData" top: "data" top: "label" '
        f"memory_data_param {{ {fields} }} {more}"
    )


def net_of(folder: Path, layer: str, ops: Ops | None = None) -> caffe.Net:
    (folder / "net.prototxt").write_text(f"layer {{ {layer} }}")
    return caffe.Net(folder / "net.prototxt", caffe.TEST, ops=ops)


def test_golden_batches(ops: Ops, golden: Path) -> None:
    folder = golden / "formats" / "memory_data"
    case = np.load(folder / "case.npz")
    net = caffe.Net(folder / "net.prototxt", caffe.TEST, ops=ops)
    assert net.blobs["label"].shape == (2,)
    net.set_input_arrays(case["data"], case["label"])
    for index in range(5):
        for name, array in net.forward().items():
            np.testing.assert_array_equal(array, case[f"batch_{index}_{name}"])


def test_arrays_are_read_when_a_pass_runs(tmp_path: Path) -> None:
    net = net_of(tmp_path, definition())
    data = DATA.copy()
    net.set_input_arrays(data, np.arange(4.0).reshape(4, 1, 1, 1))
    net.forward()
    data[2:] = 7
    assert (net.forward()["data"] == 7).all()
    net.set_input_arrays(DATA, np.arange(4))  # from the first sample again
    np.testing.assert_array_equal(net.forward()["label"].ravel(), [0, 1])


def test_a_layer_goes_on_from_its_state(tmp_path: Path) -> None:
    net, other = (net_of(tmp_path, definition()) for _ in range(2))
    for one in (net, other):
        one.set_input_arrays(DATA, np.arange(4))
    net.forward()
    other._net.layers[0].restore(net._net.layers[0].state())
    np.testing.assert_array_equal(other.forward()["label"].ravel(), [2, 3])


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (DATA[:3], np.arange(3), r"data array: .* multiple of batch_size 2, got \(3, 3, 4, 5\)"),
        (DATA[:, :2], np.arange(4), r"expected shape \(N, 3, 4, 5\)"),
        (DATA[:0], np.arange(0), "data array"),
        (DATA, np.arange(3), r"labels array: expected shape \(4,\) or \(4, 1, 1, 1\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    data: np.ndarray, labels: np.ndarray, message: str, tmp_path: Path
) -> None:
    net = net_of(tmp_path, definition())
    with pytest.raises(NetError, match=message):
        net.set_input_arrays(data, labels)
    with pytest.raises(NetError, match=r"layer 'm' \(MemoryData\): expected arrays"):
        net.forward()


def test_another_first_layer_takes_no_arrays(tmp_path: Path) -> None:
    net = net_of(tmp_path, 'name: "in" type: "Input" top: "x"')
    with pytest.raises(NetError, match=r"as the first, got 'in' \(Input\)"):
        net.set_input_arrays(DATA, np.arange(4))


def test_sizes_must_be_given() -> None:
    with pytest.raises(NetError, match=r"memory_data_param\.width: expected at least 1, got 0"):
        make_layer(definition("batch_size: 2 channels: 3 height: 4"), [])


def test_a_transformation_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    make_layer(definition(more="transform_param { scale: 2 }"), [])
    assert "MemoryData does not transform its arrays" in caplog.text
