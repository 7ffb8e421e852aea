"""Layers that normalise, sum, and move elements, in passes that are graphs."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.errors import LabelError
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime, Graph
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes.capture import WARM_UP
from tests.nets import make_net

NET = """
    layer { name: "in" type: "Input" top: "x"
      input_param { shape { dim: 6 dim: 4 dim: 9 dim: 5 } } }
    layer { name: "number" type: "Input" top: "number" input_param { shape { dim: 7 } } }
    layer { name: "a" type: "TanH" bottom: "x" top: "a" }
    layer { name: "b" type: "BatchNorm" bottom: "a" top: "a" }
    layer { name: "c" type: "MVN" bottom: "a" top: "c" }
    layer { name: "d" type: "Slice" bottom: "c" top: "d0" top: "d1"
      slice_param { axis: 2 slice_point: 4 } }
    layer { name: "e" type: "Crop" bottom: "d1" bottom: "d0" top: "e"
      crop_param { axis: 2 offset: 1 offset: 0 } }
    layer { name: "f" type: "Concat" bottom: "d0" bottom: "e" top: "f" }
    layer { name: "g" type: "Tile" bottom: "f" top: "g" tile_param { tiles: 2 } }
    layer { name: "h" type: "BatchReindex" bottom: "g" bottom: "number" top: "h" }
    layer { name: "i" type: "Softmax" bottom: "h" top: "i" }
    layer { name: "y" type: "Reduction" bottom: "i" top: "y"
      reduction_param { axis: 1 operation: SUMSQ } }
    layer { name: "z" type: "Embed" bottom: "number" top: "z"
      embed_param { num_output: 3 input_dim: 6 weight_filler { type: "gaussian" } } }
    layer { name: "best" type: "ArgMax" bottom: "i" top: "best" argmax_param { axis: 1 top_k: 2 } }
    force_backward: true
"""


def test_graphs_give_the_numbers_of_the_numpy_engine(
    cuda_runtime: CudaRuntime, launches: list[Graph]
) -> None:
    ops = CudaOps(cuda_runtime, np.float64)
    net, reference = make_net(NET, ops), make_net(NET, NumpyOps(np.float64))
    for number in range(WARM_UP + 3):
        random = np.random.default_rng(number)
        x, places = random.standard_normal((6, 4, 9, 5)), random.integers(0, 6, 7)
        dy = random.standard_normal(100000)
        for one in (net, reference):
            one.blobs["x"].data.write()[...] = x
            one.blobs["number"].data.write()[...] = places
            for layer in one.layers:
                for blob in layer.blobs:
                    blob.diff.clear()
            one.forward()
            for name in ("y", "z"):
                diff = one.blobs[name].diff
                diff.write()[...] = dy[: diff.count].reshape(diff.shape)
            one.backward()
        for name, blob in net.blobs.items():
            expected = reference.blobs[name].data.read()
            np.testing.assert_allclose(blob.data.read(), expected, 1e-9, 1e-9, err_msg=name)
        for layer, other in zip(net.layers, reference.layers, strict=True):
            for blob, like in zip(layer.blobs, other.blobs, strict=True):
                for kind in ("data", "diff"):
                    found, wanted = (getattr(each, kind).read() for each in (blob, like))
                    np.testing.assert_allclose(found, wanted, 1e-9, 1e-9, err_msg=layer.name)
        found, wanted = (one.blobs["x"].diff.read() for one in (net, reference))
        assert found.any()
        np.testing.assert_allclose(found, wanted, 1e-9, 1e-9, err_msg="gradient")
    assert len(launches) == 4  # the last two passes, forward and back
    launches.clear()
    net.blobs["number"].data.write()[...] = 6
    with pytest.raises(LabelError, match="expected 0 to 5, got 6"):
        net.forward()
    assert not launches
