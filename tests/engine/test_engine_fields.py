"""What prototxts say of engines (CAFFE, CUDNN, MKL2017, ...) is accepted, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TEST, LayerParameter, NetParameter, NetState

BLOCKS = {  # by block with such a field: the types that take it, and what else the block needs
    "batch_norm_param": (("BatchNorm",), ""),
    "concat_param": (("Concat",), ""),
    "convolution_param": (
        ("Convolution", "Deconvolution"),
        'num_output: 2 kernel_size: 1 weight_filler { type: "xavier" }',
    ),
    "dropout_param": (("Dropout",), ""),
    "eltwise_param": (("Eltwise",), ""),
    "inner_product_param": (
        ("InnerProduct",),
        'num_output: 2 weight_filler { type: "xavier" }',
    ),
    "lrn_param": (("LRN",), ""),
    "pooling_param": (("Pooling",), "kernel_size: 2"),
    "relu_param": (("ReLU",), ""),
    "sigmoid_param": (("Sigmoid",), ""),
    "softmax_param": (("Softmax",), ""),
    "split_param": (("Split",), ""),
    "spp_param": (("SPP",), "pyramid_height: 2"),
    "tanh_param": (("TanH",), ""),
}
OF_FORKS = {
    "bn_param",
    "focal_loss_param",
    "relu6_param",
    "unpooling_param",
}  # whose layers are not built here


def engines(block: str) -> list[str]:
    """The values of a block's field `engine`."""
    field = LayerParameter.DESCRIPTOR.fields_by_name[block].message_type.fields_by_name["engine"]
    return [value.name for value in field.enum_type.values]


CASES = [
    (kind, block, fields, engine)
    for block, (kinds, fields) in BLOCKS.items()
    for kind in kinds
    for engine in engines(block)
]


def output(layer: str, net: str = "") -> np.ndarray:
    """Of a net with one layer over an input of ramps."""
    definition = (
        f'{net} input: "x" input_shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }} layer {{ {layer} }}'
    )
    param = text.parse(definition, NetParameter)
    made = Net(param, NetState(phase=TEST), ops=NumpyOps(np.float32), registry=LAYERS)
    made.blobs["x"].data.write()[...] = np.arange(96).reshape(2, 3, 4, 4) / 96
    made.forward()
    result: np.ndarray = made.blobs["y"].data.read().copy()
    return result


@pytest.mark.parametrize(("kind", "block", "fields", "engine"), CASES)
def test_every_engine_that_a_prototxt_may_name_computes_the_same(
    kind: str, block: str, fields: str, engine: str
) -> None:
    bottoms = 'bottom: "x" ' * (2 if kind == "Eltwise" else 1)
    layer = f'name: "l" type: "{kind}" {bottoms} top: "y" {block} {{ {fields} '
    np.testing.assert_array_equal(output(f"{layer} engine: {engine} }}"), output(f"{layer} }}"))


def test_no_block_with_an_engine_is_forgotten() -> None:
    fields = LayerParameter.DESCRIPTOR.fields
    having = {
        field.name
        for field in fields
        if field.message_type is not None and "engine" in field.message_type.fields_by_name
    }
    assert having == {*BLOCKS, *OF_FORKS}


def test_engines_of_layers_and_of_the_net_are_accepted() -> None:
    layer = 'name: "l" type: "ReLU" bottom: "x" top: "y"'
    for engine in ("CAFFE", "MKL2017", "MKLDNN", "MKLDNN:DLA"):
        found = output(f'{layer} engine: "{engine}"', f'engine: "{engine}"')
        np.testing.assert_array_equal(found, output(layer))
