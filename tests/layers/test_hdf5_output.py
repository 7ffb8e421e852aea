"""HDF5Output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import LayerRun, make_layer
from tests.nets import make_net

PARAM = 'type: "HDF5Output" bottom: "data" bottom: "label" hdf5_output_param {{ file_name: "{}" }}'
DATA = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
LABEL = np.arange(4, dtype=np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def layer(name: str = "out.h5", data: Any = DATA, label: Any = LABEL, **options: Any) -> LayerRun:
    return make_layer(PARAM.format(name), [data, label], **options)


def content(name: str = "out.h5") -> dict[str, np.ndarray]:
    with h5py.File(name) as file:
        return {key: file[key][()] for key in file}


def test_equals_caffe(ops: Ops, golden: Path) -> None:
    case = golden / "formats" / "hdf5_output"
    net = make_net(case / "net.prototxt", ops)
    with np.load(case / "inputs.npz") as arrays:
        for name in net.inputs:
            net.blobs[name].data.write()[...] = arrays[f"in_0_{name}"]
    net.forward()
    net.close()
    found, expected = content(), content(str(case / "out.h5"))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_later_passes_add_rows(ops: Ops) -> None:
    run = layer(ops=ops)
    run.forward()
    for blob in run.bottom:
        blob.data.modify()[...] += 100
    run.forward()
    run.layer.close()
    found = content()
    np.testing.assert_array_equal(found["data"][..., 0], [*DATA, *(DATA + 100)])
    np.testing.assert_array_equal(found["label"].ravel(), [*LABEL, *(LABEL + 100)])


def test_the_number_of_rows_may_change_and_their_shape_may_not() -> None:
    run = layer()
    run.forward()
    for blob in run.bottom:
        blob.reshape((1, *blob.shape[1:]))
        blob.data.write()[...] = 7
    run.forward()
    run.bottom[0].reshape((1, 3, 5))
    with pytest.raises(DataError, match=r"'data': expected rows of shape \(3, 2, 1\).*\(3, 5, 1\)"):
        run.forward()
    run.layer.close()
    assert len(content()["label"]) == 5


def test_a_file_is_replaced_by_the_first_pass_and_not_before() -> None:
    Path("out.h5").write_bytes(b"of the user")
    run = layer()
    assert Path("out.h5").read_bytes() == b"of the user"
    run.forward()
    run.layer.close()
    run.layer.close()
    assert len(content()["data"]) == 4
    with pytest.raises(NetError, match="expected a net that is open"):
        run.forward()
    assert len(content()["data"]) == 4


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(NetError, match="file_name: expected the name of a file"):
        layer("")
    with pytest.raises(DataError, match=r"expected a file in a folder that exists, got 'no/o\.h5'"):
        layer("no/o.h5")
    with pytest.raises(ShapeError, match=r"bottom 'label': expected as many samples .*\(3,\)"):
        layer(label=LABEL[:3]).forward()
    run = layer("folder")
    Path("folder").mkdir()
    with pytest.raises(DataError, match=r"layer 'layer' \(HDF5Output\): 'folder' cannot be wri"):
        run.forward()
