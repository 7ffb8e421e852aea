"""DummyData: tops filled by fillers, for tests and timing."""

from __future__ import annotations

from typing import TypeVar

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.proto.caffe_pb2 import FillerParameter

T = TypeVar("T")


@register_layer("DummyData")
class DummyDataLayer(Layer):
    """Constant tops are filled once, others anew in every forward pass.

    top[i]: dummy_data_param.shape[i], or shape[0] for all where only one is given
    dummy_data_param: shape (none): once, or once per top; num (none), channels (none), height
    (none), width (none): its old form; data_filler (constant 0): once, or once per top

    Raises: NetError where the number of shapes or fillers does not fit the tops, both forms of the
    shape are given, or a filler does not exist.
    Source: Caffe's layer catalogue, Dummy Data.

    Example: -> noise (4, 3)
        layer { name: "noise" type: "DummyData" top: "noise"
          dummy_data_param {
            shape { dim: 4 dim: 3 } data_filler { type: "gaussian" } } }
    """

    bottoms = 0
    tops = (1, None)
    records = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        given = list(self.param.dummy_data_param.data_filler) or [FillerParameter()]
        self.fillers = self._spread("data_filler", given, len(top))
        shapes = self._shapes_of_tops(len(top))
        for index, (blob, shape) in enumerate(zip(top, shapes, strict=True)):
            blob.reshape(shape)
            if self._is_constant(index):
                self.fill_at_setup(blob.data, self.fillers[index], f"top{index}")

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for index, blob in enumerate(top):
            if not self._is_constant(index):
                self.fill(blob.data, self.fillers[index], f"top{index}", self.context.passes.value)

    def backward(self, top: Blobs, propagate_down: object, bottom: Blobs) -> None:
        """Nothing below."""

    def _is_constant(self, index: int) -> bool:
        return self.fillers[index].type == "constant"

    def _shapes_of_tops(self, tops: int) -> list[Shape]:
        param = self.param.dummy_data_param
        old = {name: list(getattr(param, name)) for name in ("num", "channels", "height", "width")}
        if not any(old.values()):
            return [tuple(shape.dim) for shape in self._spread("shape", list(param.shape), tops)]
        if param.shape:
            self.error(
                "dummy_data_param: expected shape or its old form num, channels, height, width, "
                "got both. Remove the old form."
            )
        axes = [self._spread(name, sizes, tops) for name, sizes in old.items()]
        return list(zip(*axes, strict=True))

    def _spread(self, name: str, given: list[T], tops: int) -> list[T]:
        """One of `given` per top; a single one is for all."""
        if len(given) not in (1, tops):
            self.error(
                f"dummy_data_param.{name}: expected one, or one per top ({tops}), got "
                f"{len(given)}. Give each top its own."
            )
        return given if len(given) == tops else given * tops
