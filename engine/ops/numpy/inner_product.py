"""Inner product on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import InnerProductGeometry
from caffepy.engine.ops.numpy.totals import column_sums


class InnerProduct(Op):
    """y = x w^T + b (x w + b when transposed).

    x: (rows, inputs) elements in any shape.  w: geometry.weight_shape.  b: (outputs,) or None.
    """

    def __init__(self, ops: Ops, geometry: InnerProductGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry

    @step(reads="x w b", writes="out")
    def forward(self, x: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: (rows, outputs) elements."""
        y = self._outputs(out.write())
        np.matmul(self._inputs(x.read()), self._weights(w.read()), out=y)
        if b is not None:
            y += b.read()

    @step(reads="dy w", writes="out")
    def backward_data(self, dy: Value, w: Value, *, out: Value) -> None:
        """out: gradient of x."""
        np.matmul(
            self._outputs(dy.read()), self._weights(w.read()).T, out=self._inputs(out.write())
        )

    @step(reads="dy x", adds="add_w add_b")
    def backward_params(
        self, dy: Value, x: Value, *, add_w: Value | None = None, add_b: Value | None = None
    ) -> None:
        """Adds the gradients of the parameters."""
        gradient = self._outputs(dy.read())
        if add_w is not None:
            inputs = self._inputs(x.read())
            factors = (inputs.T, gradient) if self.geometry.transpose else (gradient.T, inputs)
            if add_w.allocated:
                weights = add_w.modify().reshape(self.geometry.weight_shape)
                weights += np.matmul(*factors)
            else:  # 0 so far: three passes over large memory less
                np.matmul(*factors, out=add_w.write().reshape(self.geometry.weight_shape))
        if add_b is not None:
            add_b.modify().reshape(-1)[:] += column_sums(gradient)

    def _inputs(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.geometry.rows, self.geometry.inputs)

    def _outputs(self, y: np.ndarray) -> np.ndarray:
        return y.reshape(self.geometry.rows, self.geometry.outputs)

    def _weights(self, w: np.ndarray) -> np.ndarray:
        """(inputs, outputs)"""
        w = w.reshape(self.geometry.weight_shape)
        return w if self.geometry.transpose else w.T
