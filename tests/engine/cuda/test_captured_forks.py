"""Layers of forks that move, resize and normalise feature maps, in passes that are graphs."""

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
      input_param { shape { dim: 2 dim: 8 dim: 6 dim: 10 } } }
    layer { name: "places" type: "Input" top: "places"
      input_param { shape { dim: 2 dim: 8 dim: 3 dim: 5 } } }
    layer { name: "a" type: "Mish" bottom: "x" top: "a" }
    layer { name: "b" type: "ShuffleChannel" bottom: "a" top: "b"
      shuffle_channel_param { group: 2 } }
    layer { name: "c" type: "Normalize" bottom: "b" top: "c"
      norm_param { across_spatial: false channel_shared: false } }
    layer { name: "d" type: "ConvolutionDepthwise" bottom: "c" top: "d"
      convolution_param { kernel_size: 3 pad: 1 weight_filler { type: "gaussian" } } }
    layer { name: "relu6" type: "ReLU6" bottom: "d" top: "d" }
    layer { name: "pool" type: "Pooling" bottom: "d" top: "e" top: "mask"
      pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "f" type: "Upsample" bottom: "e" bottom: "mask" top: "f" }
    layer { name: "g" type: "Upsample" bottom: "e" top: "g" upsample_param { scale: 2 } }
    layer { name: "h" type: "Upsample" bottom: "e" bottom: "places" top: "h"
      upsample_param { upsample_h: 6 upsample_w: 10 } }
    layer { name: "sum" type: "Eltwise" bottom: "f" bottom: "g" bottom: "h" top: "i" }
    layer { name: "j" type: "Interp" bottom: "i" top: "j" interp_param { height: 8 width: 14 } }
    layer { name: "k" type: "Reorg" bottom: "j" top: "k" reorg_param { stride: 2 } }
    layer { name: "y" type: "Permute" bottom: "k" top: "y"
      permute_param { order: 0 order: 2 order: 3 order: 1 } }
    layer { name: "z" type: "PriorBox" bottom: "k" bottom: "x" top: "z"
      prior_box_param { min_size: 2 } propagate_down: false propagate_down: false }
    force_backward: true
"""


def test_graphs_give_the_numbers_of_the_numpy_engine(
    cuda_runtime: CudaRuntime, launches: list[Graph]
) -> None:
    net, reference = (
        make_net(NET, ops) for ops in (CudaOps(cuda_runtime, np.float64), NumpyOps(np.float64))
    )
    for number in range(WARM_UP + 3):
        random = np.random.default_rng(number)
        x, places = random.standard_normal((2, 8, 6, 10)), random.integers(0, 60, (2, 8, 3, 5))
        dy = random.standard_normal(reference.blobs["y"].shape)
        for one in (net, reference):
            one.blobs["x"].data.write()[...] = x
            one.blobs["places"].data.write()[...] = places
            one.parameters.clear_diffs()
            one.forward()
            one.blobs["y"].diff.write()[...] = dy
            one.backward()
        for name, blob in net.blobs.items():
            expected = reference.blobs[name].data.read()
            np.testing.assert_allclose(blob.data.read(), expected, 1e-9, 1e-9, err_msg=name)
        found, wanted = (one.blobs["x"].diff.read() for one in (net, reference))
        assert found.any()
        np.testing.assert_allclose(found, wanted, 1e-9, 1e-9)
    assert launches
    net.blobs["places"].data.write()[...] = 60
    with pytest.raises(LabelError, match="expected 0 to 59, got 60"):
        net.forward()
