"""The nets that benchmarks run, with a batch made up in memory.

Layers, names and rates are those of the published definitions; fillers are not, since a step takes
as long whatever the weights are, as long as activations neither vanish nor grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffepy.proto.caffe_pb2 import NetParameter
from caffepy.pycaffe.net_spec import NetSpec, Top
from caffepy.pycaffe.net_spec import layers as L
from caffepy.pycaffe.net_spec import params as P

Rates = list[dict[str, Any]]

XAVIER, MSRA = {"type": "xavier"}, {"type": "msra"}
BIAS_FASTER: Rates = [{"lr_mult": 1}, {"lr_mult": 2}]
BIAS_FREE: Rates = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]
MAX, AVE = P.Pooling.MAX, P.Pooling.AVE


class _Builder:
    """A net under construction. Each method adds a layer of that name, and returns its top.

    rates: the `param` blocks of layers with weights.  filler: of weights.
    """

    def __init__(self, name: str, rates: Rates | None = None, filler: Any = None) -> None:
        self.name = name
        self.spec = NetSpec()
        self.rates = rates or []
        self.filler = filler or XAVIER

    def data(self, shape: Sequence[int], classes: int, names: Sequence[str]) -> tuple[Top, Top]:
        """The layer `data` with the two tops of these names, the second the labels."""
        numbers = {"type": "constant", "value": 0.5}
        label = {"type": "constant", "value": classes - 1}
        shapes = [{"dim": list(shape)}, {"dim": [shape[0]]}]
        tops = L.DummyData(
            name="data", ntop=2,
            dummy_data_param={"shape": shapes, "data_filler": [numbers, label]},
        )  # fmt: skip
        for name, top in zip(names, tops, strict=True):
            self.spec[name] = top
        first, second = tops
        return first, second

    def add(self, name: str, top: Top) -> Top:
        self.spec[name] = top
        return top

    def convolution(self, name: str, x: Top, outputs: int, kernel: int, **fields: Any) -> Top:
        rates = fields.pop("rates", self.rates)
        made = L.Convolution(
            x, num_output=outputs, kernel_size=kernel, weight_filler=self.filler, param=rates,
            **fields,
        )  # fmt: skip
        return self.add(name, made)

    def inner_product(self, name: str, x: Top, outputs: int, rates: Rates | None = None) -> Top:
        made = L.InnerProduct(
            x, num_output=outputs, weight_filler=self.filler, param=rates or self.rates
        )
        return self.add(name, made)

    def pool(self, name: str, x: Top, method: int, kernel: int, stride: int, pad: int = 0) -> Top:
        fields = {"pad": pad} if pad else {}
        return self.add(
            name, L.Pooling(x, pool=method, kernel_size=kernel, stride=stride, **fields)
        )

    def global_mean(self, name: str, x: Top) -> Top:
        return self.add(name, L.Pooling(x, pool=AVE, global_pooling=True))

    def relu(self, name: str, x: Top) -> Top:
        return self.add(name, L.ReLU(x, in_place=True))

    def lrn(self, name: str, x: Top) -> Top:
        return self.add(name, L.LRN(x, local_size=5, alpha=1e-4, beta=0.75))

    def dropout(self, name: str, x: Top, ratio: float) -> Top:
        return self.add(name, L.Dropout(x, dropout_ratio=ratio, in_place=True))

    def normalised(self, bn: str, scale: str, x: Top) -> Top:
        """BatchNorm and Scale, both in place."""
        x = self.add(bn, L.BatchNorm(x, in_place=True, param=[{"lr_mult": 0}] * 3))
        return self.add(scale, L.Scale(x, bias_term=True, in_place=True))

    def loss(self, name: str, x: Top, label: Top, weight: float = 1.0) -> None:
        self.add(name, L.SoftmaxWithLoss(x, label, loss_weight=weight))

    def param(self) -> NetParameter:
        param = self.spec.to_proto()
        param.name = self.name
        return param


def lenet(batch: int) -> NetParameter:
    """LeNet as in Caffe's MNIST example."""
    net = _Builder("LeNet", BIAS_FASTER)
    x, label = net.data((batch, 1, 28, 28), 10, ("data", "label"))
    x = net.convolution("conv1", x, 20, 5)
    x = net.pool("pool1", x, MAX, 2, 2)
    x = net.convolution("conv2", x, 50, 5)
    x = net.pool("pool2", x, MAX, 2, 2)
    x = net.relu("relu1", net.inner_product("ip1", x, 500))
    net.loss("loss", net.inner_product("ip2", x, 10), label)
    return net.param()


def siamese(batch: int) -> NetParameter:
    """Caffe's siamese example: two LeNets with shared weights, on the halves of a pair."""
    net = _Builder("mnist_siamese_train_test")
    pair, similar = net.data((batch, 2, 28, 28), 2, ("pair_data", "sim"))
    halves = L.Slice(pair, name="slice_pair", ntop=2, slice_param={"axis": 1, "slice_point": [1]})
    features = []
    for end, half in zip(("", "_p"), halves, strict=True):
        x = net.add("data" + end, half)
        x = net.convolution("conv1" + end, x, 20, 5, rates=_shared("conv1"))
        x = net.pool("pool1" + end, x, MAX, 2, 2)
        x = net.convolution("conv2" + end, x, 50, 5, rates=_shared("conv2"))
        x = net.pool("pool2" + end, x, MAX, 2, 2)
        x = net.inner_product("ip1" + end, x, 500, _shared("ip1"))
        x = net.relu("relu1" + end, x)
        x = net.inner_product("ip2" + end, x, 10, _shared("ip2"))
        features.append(net.inner_product("feat" + end, x, 2, _shared("feat")))
    net.add("loss", L.ContrastiveLoss(*features, similar, contrastive_loss_param={"margin": 1}))
    return net.param()


def _shared(name: str) -> Rates:
    return [{"name": f"{name}_w", "lr_mult": 1}, {"name": f"{name}_b", "lr_mult": 2}]


def cifar10_quick(batch: int) -> NetParameter:
    """The quick net of Caffe's CIFAR-10 example."""
    net = _Builder("CIFAR10_quick", BIAS_FASTER)
    x, label = net.data((batch, 3, 32, 32), 10, ("data", "label"))
    x = net.convolution("conv1", x, 32, 5, pad=2)
    x = net.relu("relu1", net.pool("pool1", x, MAX, 3, 2))
    x = net.relu("relu2", net.convolution("conv2", x, 32, 5, pad=2))
    x = net.pool("pool2", x, AVE, 3, 2)
    x = net.relu("relu3", net.convolution("conv3", x, 64, 5, pad=2))
    x = net.inner_product("ip1", net.pool("pool3", x, AVE, 3, 2), 64)
    net.loss("loss", net.inner_product("ip2", x, 10), label)
    return net.param()


def caffenet(batch: int) -> NetParameter:
    """BVLC's CaffeNet: AlexNet in one column, with groups, LRN and dropout."""
    net = _Builder("CaffeNet", BIAS_FREE)
    x, label = net.data((batch, 3, 227, 227), 1000, ("data", "label"))
    x = net.relu("relu1", net.convolution("conv1", x, 96, 11, stride=4))
    x = net.lrn("norm1", net.pool("pool1", x, MAX, 3, 2))
    x = net.relu("relu2", net.convolution("conv2", x, 256, 5, pad=2, group=2))
    x = net.lrn("norm2", net.pool("pool2", x, MAX, 3, 2))
    x = net.relu("relu3", net.convolution("conv3", x, 384, 3, pad=1))
    x = net.relu("relu4", net.convolution("conv4", x, 384, 3, pad=1, group=2))
    x = net.relu("relu5", net.convolution("conv5", x, 256, 3, pad=1, group=2))
    x = net.pool("pool5", x, MAX, 3, 2)
    for number in (6, 7):
        x = net.relu(f"relu{number}", net.inner_product(f"fc{number}", x, 4096))
        x = net.dropout(f"drop{number}", x, 0.5)
    net.loss("loss", net.inner_product("fc8", x, 1000), label)
    return net.param()


# Outputs of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and the projection of the pooled input.
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(batch: int) -> NetParameter:
    """BVLC's GoogLeNet for training, with its two auxiliary losses."""
    net = _Builder("GoogleNet", BIAS_FREE)

    def convolution(name: str, x: Top, outputs: int, kernel: int, **fields: Any) -> Top:
        x = net.convolution(name, x, outputs, kernel, **fields)
        return net.relu(name.removesuffix("_s2").replace("/", "/relu_", 1), x)

    def inception(name: str, x: Top) -> Top:
        one, reduce3, three, reduce5, five, projection = _INCEPTIONS[name[-2:]]
        pooled = net.pool(f"{name}/pool", x, MAX, 3, 1, pad=1)
        small = convolution(f"{name}/3x3_reduce", x, reduce3, 1)
        large = convolution(f"{name}/5x5_reduce", x, reduce5, 1)
        branches = (
            convolution(f"{name}/1x1", x, one, 1),
            convolution(f"{name}/3x3", small, three, 3, pad=1),
            convolution(f"{name}/5x5", large, five, 5, pad=2),
            convolution(f"{name}/pool_proj", pooled, projection, 1),
        )
        return net.add(f"{name}/output", L.Concat(*branches))

    def auxiliary(name: str, x: Top) -> None:
        x = convolution(f"{name}/conv", net.pool(f"{name}/ave_pool", x, AVE, 5, 3), 128, 1)
        x = net.relu(f"{name}/relu_fc", net.inner_product(f"{name}/fc", x, 1024))
        x = net.dropout(f"{name}/drop_fc", x, 0.7)
        net.loss(f"{name}/loss", net.inner_product(f"{name}/classifier", x, 1000), label, 0.3)

    x, label = net.data((batch, 3, 224, 224), 1000, ("data", "label"))
    x = convolution("conv1/7x7_s2", x, 64, 7, pad=3, stride=2)
    x = net.lrn("pool1/norm1", net.pool("pool1/3x3_s2", x, MAX, 3, 2))
    x = convolution("conv2/3x3_reduce", x, 64, 1)
    x = net.lrn("conv2/norm2", convolution("conv2/3x3", x, 192, 3, pad=1))
    x = net.pool("pool2/3x3_s2", x, MAX, 3, 2)
    for name in _INCEPTIONS:
        x = inception(f"inception_{name}", x)
        if name in ("4a", "4d"):
            auxiliary("loss1" if name == "4a" else "loss2", x)
        elif name in ("3b", "4e"):
            x = net.pool(f"pool{int(name[0])}/3x3_s2", x, MAX, 3, 2)
    x = net.dropout("pool5/drop_7x7_s1", net.pool("pool5/7x7_s1", x, AVE, 7, 1), 0.4)
    net.loss("loss3/loss3", net.inner_product("loss3/classifier", x, 1000), label)
    return net.param()


def resnet50(batch: int) -> NetParameter:
    """ResNet-50 as its authors published it: the stride in a block's first 1x1 convolution."""
    net = _Builder("ResNet-50")

    def unit(name: str, x: Top, outputs: int, kernel: int, stride: int = 1) -> Top:
        pad, bias = kernel // 2, name == ""
        fields = {"stride": stride, "pad": pad, "bias_term": bias}
        x = net.convolution(f"res{name}" if name else "conv1", x, outputs, kernel, **fields)
        end = name or "_conv1"
        return net.normalised(f"bn{end}", f"scale{end}", x)

    x, label = net.data((batch, 3, 224, 224), 1000, ("data", "label"))
    x = net.pool("pool1", net.relu("conv1_relu", unit("", x, 64, 7, 2)), MAX, 3, 2)
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 2):
        for block in range(blocks):
            name = f"{stage}{'abcdef'[block]}"
            stride = 2 if stage > 2 and block == 0 else 1
            shortcut = x if block else unit(f"{name}_branch1", x, 4 * width, 1, stride)
            for part, kernel, step in (("a", 1, stride), ("b", 3, 1)):
                x = unit(f"{name}_branch2{part}", x, width, kernel, step)
                x = net.relu(f"res{name}_branch2{part}_relu", x)
            x = unit(f"{name}_branch2c", x, 4 * width, 1)
            x = net.add(f"res{name}", L.Eltwise(shortcut, x))
            x = net.relu(f"res{name}_relu", x)
    x = net.inner_product("fc1000", net.pool("pool5", x, AVE, 7, 1), 1000)
    net.loss("loss", x, label)
    return net.param()


def squeezenet(batch: int) -> NetParameter:
    """SqueezeNet 1.1."""
    net = _Builder("SqueezeNet")

    def fire(name: str, x: Top, squeezed: int, expanded: int) -> Top:
        x = net.convolution(f"{name}/squeeze1x1", x, squeezed, 1)
        x = net.relu(f"{name}/relu_squeeze1x1", x)
        one = net.convolution(f"{name}/expand1x1", x, expanded, 1)
        three = net.convolution(f"{name}/expand3x3", x, expanded, 3, pad=1)
        both = net.relu(f"{name}/relu_expand1x1", one), net.relu(f"{name}/relu_expand3x3", three)
        return net.add(f"{name}/concat", L.Concat(*both))

    x, label = net.data((batch, 3, 227, 227), 1000, ("data", "label"))
    x = net.relu("relu_conv1", net.convolution("conv1", x, 64, 3, stride=2))
    x = net.pool("pool1", x, MAX, 3, 2)
    for number, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        x = fire(f"fire{number}", x, squeezed, 4 * squeezed)
        if number in (3, 5):
            x = net.pool(f"pool{number}", x, MAX, 3, 2)
    x = net.convolution("conv10", net.dropout("drop9", x, 0.5), 1000, 1)
    net.loss("loss", net.global_mean("pool10", net.relu("relu_conv10", x)), label)
    return net.param()


def mobilenet(batch: int) -> NetParameter:
    """MobileNet v1: its depthwise convolutions have a group for each channel."""
    net = _Builder("MOBILENET", filler=MSRA)

    def unit(name: str, x: Top, outputs: int, kernel: int, **fields: Any) -> Top:
        x = net.convolution(name, x, outputs, kernel, bias_term=False, **fields)
        return net.relu(f"relu{name[4:]}", net.normalised(f"{name}/bn", f"{name}/scale", x))

    x, label = net.data((batch, 3, 224, 224), 1000, ("data", "label"))
    x = unit("conv1", x, 32, 3, pad=1, stride=2)
    blocks = (
        ("2_1", 64, 1), ("2_2", 128, 2), ("3_1", 128, 1), ("3_2", 256, 2), ("4_1", 256, 1),
        ("4_2", 512, 2), *((f"5_{index}", 512, 1) for index in range(1, 6)), ("5_6", 1024, 2),
        ("6", 1024, 1),
    )  # fmt: skip
    width = 32
    for name, outputs, stride in blocks:
        x = unit(f"conv{name}/dw", x, width, 3, pad=1, stride=stride, group=width)
        x = unit(f"conv{name}/sep", x, outputs, 1)
        width = outputs
    net.loss("loss", net.convolution("fc7", net.global_mean("pool6", x), 1000, 1), label)
    return net.param()


@dataclass(frozen=True)
class BenchmarkNet:
    """A net to be timed. title: as tables say it.  batch: how many samples a step takes.
    gpu_batch: on a GPU."""

    title: str
    batch: int
    gpu_batch: int
    define: Callable[[int], NetParameter]

    def param(self, batch: int | None = None) -> NetParameter:
        """Its definition, for both phases."""
        return self.define(self.batch if batch is None else batch)


NETS = {
    "lenet": BenchmarkNet("LeNet", 64, 64, lenet),
    "cifar10_quick": BenchmarkNet("CIFAR10-quick", 100, 100, cifar10_quick),
    "caffenet": BenchmarkNet("CaffeNet", 32, 256, caffenet),
    "googlenet": BenchmarkNet("GoogLeNet", 8, 128, googlenet),
    "resnet50": BenchmarkNet("ResNet-50", 4, 64, resnet50),
    "squeezenet": BenchmarkNet("SqueezeNet 1.1", 16, 256, squeezenet),
    "mobilenet": BenchmarkNet("MobileNet v1", 8, 128, mobilenet),
    "siamese": BenchmarkNet("siamese", 64, 64, siamese),
}


def batch_for(param: NetParameter) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that every engine gets as the net's input: normally distributed data (N, C, H, W)
    and labels (N,), evenly distributed over the classes; both float32. The label that the
    definition itself fills in is the last class."""
    fields = param.layer[0].dummy_data_param
    random = np.random.default_rng(1)
    data = random.standard_normal(tuple(fields.shape[0].dim), np.float32)
    classes = int(fields.data_filler[1].value) + 1
    return data, random.integers(classes, size=tuple(fields.shape[1].dim)).astype(np.float32)
