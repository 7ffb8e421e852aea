"""Memory that values have left is not held by the ops that used it last."""

from __future__ import annotations

import weakref

import numpy as np

from tests.conftest import onednn_ops
from tests.nets import make_net


def test_weights_that_moved_leave_no_copy_behind() -> None:
    ops = onednn_ops()
    net = make_net(
        """layer { name: "in" type: "Input" top: "x" input_param {
          shape { dim: 2 dim: 16 dim: 6 dim: 6 } } }
        layer { name: "conv" type: "Convolution" bottom: "x" top: "y" convolution_param {
          num_output: 16 kernel_size: 3 weight_filler { type: "xavier" } } }""",
        ops,
    )
    net.forward()
    weights = net.parameters.learnable[0].blob.data
    content = weights.read(weights.home).copy()
    old = weakref.ref(weights.read(weights.home))
    ops.let_go()
    weights.move_to(np.zeros(content.size, np.float32), weights.home)
    assert old() is None
    net.forward()
    np.testing.assert_array_equal(weights.read(weights.home), content)
