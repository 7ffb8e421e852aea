"""Distances of features from the centres of their classes, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.labels import LabelReader
from caffepy.engine.ops.numpy.rows import add_rows

REMEDY = "Correct the data, or set center_loss_param.num_output to the largest label plus 1."


class CenterLoss(Op):
    """sum over samples of |x - c[label]|^2 / (2 N).

    x: (N, K) elements.  c: the centres, (classes, K).  label: (N,) elements.
    """

    def __init__(
        self, ops: Ops, samples: int, classes: int, size: int, where: str, weight: float
    ) -> None:
        """samples: N.  size: K.  where: the layer, for messages.  weight: that of the loss."""
        super().__init__(ops)
        self.shape = samples, size
        self.samples = samples or 1
        self.classes = classes
        self.labels = LabelReader(AxisGeometry(samples, classes, 1), None, where, "label", REMEDY)

    @step(reads="x label c", writes="out")
    def forward(self, x: Value, label: Value, c: Value, *, out: Value) -> None:
        """out: the loss, a scalar. Raises: LabelError where a label is no class."""
        far = self._differences(x, label, c).reshape(-1)
        out.write()[...] = np.dot(far, far) / (2 * self.samples)

    @step(reads="x label c dloss", writes="out")
    def backward_data(self, x: Value, label: Value, c: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, (x - c) / N
        weighted."""
        weight = dloss.read() / self.samples
        np.multiply(self._differences(x, label, c), weight, out=out.write().reshape(self.shape))

    @step(reads="x label c dloss", adds="add_c")
    def backward_params(
        self, x: Value, label: Value, c: Value, dloss: Value, *, add_c: Value
    ) -> None:
        """Adds for each class the sum of c - x over its n samples, divided by n + 1; on a backend
        that scales losses so many times as dloss is the loss weight."""
        classes = self._classes(label)
        counts = np.bincount(classes, minlength=self.classes)[classes] + 1
        pulls = self._differences(x, label, c)
        pulls /= -counts[:, None].astype(pulls.dtype)
        add_rows(add_c.modify(), classes, pulls)

    def _differences(self, x: Value, label: Value, c: Value) -> np.ndarray:
        """(N, K) x - c."""
        found: np.ndarray = x.read().reshape(self.shape) - c.read()[self._classes(label)]
        return found

    def _classes(self, label: Value) -> np.ndarray:
        """(N,) class numbers."""
        return self.labels.read(label)[0][:, 0]
