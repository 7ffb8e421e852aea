"""MemoryData: batches of arrays that a program gives the layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("MemoryData")
class MemoryDataLayer(Layer):
    """Samples of arrays in memory, in their order, again from the start when all are through.

    top[0]: (batch_size, channels, height, width) float   top[1]: (batch_size,) float when the net
    is built, (batch_size, 1, 1, 1) from the first pass on, as in Caffe
    memory_data_param: batch_size; channels; height; width

    A Python program gives the arrays: `net.set_input_arrays(data, labels)`. They are not copied.

    Raises: NetError where a size is 0, where the arrays do not fit, and in a forward pass before
    there are any.
    Differs: transform_param does nothing, as in Caffe, but the log says so when the net is built.
    Source: Caffe's layer catalogue, Memory Data.

    Example: -> data (2, 3, 4, 5), label (2, 1, 1, 1)
        layer { name: "data" type: "MemoryData" top: "data" top: "label"
          memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 } }
    """

    bottoms = 0
    tops = 2
    records = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.memory_data_param
        for field in ("batch_size", "channels", "height", "width"):
            if getattr(param, field) == 0:
                self.error(f"memory_data_param.{field}: expected at least 1, got 0. Set it.")
        if self.param.HasField("transform_param"):
            log.warning(
                f"{self.where}: transform_param: MemoryData does not transform its arrays. Remove "
                "it, and scale and crop them before."
            )
        self._data: np.ndarray | None = None
        self._labels: np.ndarray | None = None
        self._position = 0
        top[0].reshape((param.batch_size, param.channels, param.height, param.width))
        top[1].reshape((param.batch_size,))

    def reset(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Goes on with the first of new samples.

        data: (N, channels, height, width), labels: (N,) or (N, 1, 1, 1); N a multiple of
        batch_size. They are read in each pass: what is written into them until then counts.
        Raises: NetError where they do not fit.
        """
        param = self.param.memory_data_param
        sample = (param.channels, param.height, param.width)
        if data.shape[1:] != sample or not len(data) or len(data) % param.batch_size:
            self.error(
                f"data array: expected shape (N, {', '.join(map(str, sample))}), N a multiple of "
                f"batch_size {param.batch_size}, got {data.shape}. Reshape it, or add samples."
            )
        if labels.shape not in ((len(data),), (len(data), 1, 1, 1)):
            self.error(
                f"labels array: expected shape ({len(data)},) or ({len(data)}, 1, 1, 1), one for "
                f"each sample, got {labels.shape}. Reshape it."
            )
        self._data, self._labels, self._position = data, labels, 0

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if self._data is None or self._labels is None:
            self.error(
                "expected arrays from a Python program, got none. Call "
                "net.set_input_arrays(data, labels) first."
            )
        size = self.param.memory_data_param.batch_size
        top[1].reshape((size, 1, 1, 1))
        batch = slice(self._position, self._position + size)
        top[0].data.write()[...] = self._data[batch]
        top[1].data.write()[...] = self._labels[batch].reshape(size, 1, 1, 1)
        self._position = batch.stop % len(self._data)

    def backward(self, top: Blobs, propagate_down: object, bottom: Blobs) -> None:
        """Nothing below."""

    def state(self) -> dict[str, Any]:
        return {"position": self._position}

    def restore(self, state: dict[str, Any]) -> None:
        self._position = state["position"]
