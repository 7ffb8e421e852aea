"""Layers as users of pycaffe write them, and nets that hold them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TRAIN
from tests.nets import make_net

# The published example of a loss in Python, in its habits: float32 scratch made in reshape, a top
# of shape (1,), the weight in top.diff ignored.
EUCLIDEAN = """
import caffe
import numpy as np


class EuclideanLossLayer(caffe.Layer):
    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception("Need two inputs to compute distance.")

    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise Exception("Inputs must have the same dimension.")
        self.diff = np.zeros_like(bottom[0].data, dtype=np.float32)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.diff**2) / bottom[0].num / 2.

    def backward(self, top, propagate_down, bottom):
        for i in range(2):
            if not propagate_down[i]:
                continue
            sign = 1 if i == 0 else -1
            bottom[i].diff[...] = sign * self.diff / bottom[i].num
"""

# One class for each thing that layers do: the kinds that pycaffe's own tests have, and a few more.
KINDS = """
import caffe
import numpy as np


class TimesTen(caffe.Layer):
    def setup(self, bottom, top): pass

    def reshape(self, bottom, top):
        top[0].reshape(bottom[0].num, bottom[0].channels, bottom[0].height, bottom[0].width)

    def forward(self, bottom, top):
        top[0].data[...] = 10 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 10 * top[0].diff


class InPlace(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): pass

    def forward(self, bottom, top):
        top[0].data[...] *= 2
        top[0].data += 1

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] *= 2


class Factor(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[0] = 3
        self.factor = self.blobs[0].data

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        assert len(self.blobs) == len(list(self.blobs)) == 1
        top[0].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += np.sum(top[0].diff * bottom[0].data)
        if propagate_down[0]:
            bottom[0].diff[...] = self.blobs[0].data * top[0].diff


class Phase(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[()] = {caffe.TRAIN: 0, caffe.TEST: 1}[self.phase]


class SumAndProduct(caffe.Layer):
    def setup(self, bottom, top): pass

    def reshape(self, bottom, top):
        for blob in top:
            blob.reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = sum(blob.data for blob in bottom)
        top[1].data.flat = bottom[0].data * bottom[-1].data

    def backward(self, top, propagate_down, bottom):
        assert len(propagate_down) == len(bottom) == 3
        for blob in bottom:
            blob.diff[...] = top[0].diff
        bottom[0].diff[...] += top[1].diff * bottom[2].data
        bottom[2].diff[...] += top[1].diff * bottom[0].data


class Images(caffe.Layer):
    '''Loads its image in reshape, each of another size, as FCN's data layers do.'''

    def setup(self, bottom, top):
        self.sizes = eval(self.param_str)['sizes']
        self.idx = 0
        if len(top) != 2: raise Exception("Need to define two tops: data and label.")
        if len(bottom) != 0: raise Exception("Do not define a bottom.")

    def reshape(self, bottom, top):
        height, width = self.sizes[self.idx]
        self.data = np.arange(3. * height * width).reshape(3, height, width) + self.idx
        self.label = np.full((1, height, width), self.idx, np.uint8)
        top[0].reshape(1, *self.data.shape)
        top[1].reshape(1, *self.label.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.data
        top[1].data[...] = self.label
        self.idx += 1
        if self.idx == len(self.sizes):
            self.idx = 0

    def backward(self, top, propagate_down, bottom): pass


class Counting(caffe.Layer):
    def setup(self, bottom, top): self.count, self.sums = 0, np.zeros(2)
    def reshape(self, bottom, top): top[0].reshape(1)

    def forward(self, bottom, top):
        self.count += 1
        self.sums += self.count
        top[0].data[0] = self.sums[1]

    def state(self): return {'count': self.count, 'sums': self.sums}
    def restore(self, state): self.count, self.sums = state['count'], state['sums']


class Failing(caffe.Layer):
    def setup(self, bottom, top): self.fail('setup')
    def reshape(self, bottom, top): top[0].reshape(1); self.fail('reshape')
    def forward(self, bottom, top): self.fail('forward')
    def backward(self, top, propagate_down, bottom): self.fail('backward')

    def fail(self, where):
        if where in self.param_str_:
            raise RuntimeError("it happened in " + where)


class NoBackward(TimesTen):
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)
    backward = None


class NoForward(caffe.Layer):
    def setup(self, bottom, top): pass
"""


def python_layer(kind: str, rest: str = "", module: str = "kinds", param_str: str = "") -> str:
    """A layer block. rest: its bottoms, tops and so on."""
    return (
        f'layer {{ name: "{kind}" type: "Python" {rest} python_param {{ module: "{module}" '
        f'layer: "{kind}" param_str: "{param_str}" }} }}\n'
    )


def write_modules(folder: Path, **modules: str) -> None:
    """Writes `name=text` as name.py; the two above are there anyway."""
    for name, content in {"pyloss": EUCLIDEAN, "kinds": KINDS, **modules}.items():
        (folder / f"{name}.py").write_text(dedent(content))


def build(folder: Path, net: str, ops: Ops | None = None, phase: int = TRAIN) -> Net:
    """A net whose prototxt and modules lie in `folder`."""
    path = folder / "net.prototxt"
    path.write_text(net)
    return make_net(path, ops, phase=phase, folders=(folder,), seed=3)
