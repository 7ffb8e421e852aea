"""The nets that benchmarks run, as prototxt with data made up in memory."""

from __future__ import annotations

from collections.abc import Callable


def _data(batch: int, channels: int, size: int, classes: int) -> str:
    return f"""
layer {{ name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {{
  shape {{ dim: {batch} dim: {channels} dim: {size} dim: {size} }} shape {{ dim: {batch} }}
  data_filler {{ type: "constant" value: 0.5 }} data_filler {{ type: "constant" value: {classes - 1}
  }} }} }}"""


def _convolution(name: str, bottom: str, outputs: int, kernel: int, pad: int = 0) -> str:
    return f"""
layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{
  num_output: {outputs} kernel_size: {kernel} pad: {pad} weight_filler {{ type: "xavier" }} }} }}"""


def _pooling(name: str, bottom: str, method: str, kernel: int) -> str:
    return f"""
layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}" pooling_param {{
  pool: {method} kernel_size: {kernel} stride: 2 }} }}"""


def _relu(blob: str) -> str:
    return f"""
layer {{ name: "relu_{blob}" type: "ReLU" bottom: "{blob}" top: "{blob}" }}"""


def _inner_product(name: str, bottom: str, outputs: int) -> str:
    return f"""
layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" inner_product_param {{
  num_output: {outputs} weight_filler {{ type: "xavier" }} }} }}"""


def _loss(bottom: str) -> str:
    return f"""
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "{bottom}" bottom: "label" top: "loss" }}"""


def lenet(batch: int = 64) -> str:
    """LeNet as in Caffe's MNIST example."""
    return 'name: "LeNet"' + "".join(
        (
            _data(batch, 1, 28, 10),
            _convolution("conv1", "data", 20, 5),
            _pooling("pool1", "conv1", "MAX", 2),
            _convolution("conv2", "pool1", 50, 5),
            _pooling("pool2", "conv2", "MAX", 2),
            _inner_product("ip1", "pool2", 500),
            _relu("ip1"),
            _inner_product("ip2", "ip1", 10),
            _loss("ip2"),
        )
    )


def cifar10_quick(batch: int = 100) -> str:
    """The quick net of Caffe's CIFAR-10 example."""
    return 'name: "CIFAR10_quick"' + "".join(
        (
            _data(batch, 3, 32, 10),
            _convolution("conv1", "data", 32, 5, 2),
            _pooling("pool1", "conv1", "MAX", 3),
            _relu("pool1"),
            _convolution("conv2", "pool1", 32, 5, 2),
            _relu("conv2"),
            _pooling("pool2", "conv2", "AVE", 3),
            _convolution("conv3", "pool2", 64, 5, 2),
            _relu("conv3"),
            _pooling("pool3", "conv3", "AVE", 3),
            _inner_product("ip1", "pool3", 64),
            _inner_product("ip2", "ip1", 10),
            _loss("ip2"),
        )
    )


NETS: dict[str, Callable[[], str]] = {"lenet": lenet, "cifar10_quick": cifar10_quick}
