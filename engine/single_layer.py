"""One layer on its own, given as prototxt: for checking a layer without a net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine import filler
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import NetError
from caffepy.engine.core.layer import Layer, LayerContext
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.known_types import unknown_type
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TRAIN, LayerParameter
from caffepy.proto.errors import type_place


@dataclass
class SingleLayer:
    """A layer that was set up on `bottom`, with its tops."""

    layer: Layer
    bottom: list[Blob]
    top: list[Blob]

    def forward(self) -> list[np.ndarray]:
        """Reshapes and runs forward; copies of the tops."""
        self.layer.reshape(self.bottom, self.top)
        self.layer.forward(self.bottom, self.top)
        return [blob.data.read().copy() for blob in self.top]

    def backward(self, *top_diffs: Any) -> list[np.ndarray]:
        """Runs backward from the given diffs of the tops, into parameter diffs that are cleared
        before; copies of the bottoms' diffs."""
        for blob, diff in zip(self.top, top_diffs, strict=True):
            blob.diff.write()[...] = diff
        for blob in self.layer.blobs:
            blob.diff.clear()
        self.layer.backward(self.top, [True] * len(self.bottom), self.bottom)
        return [blob.diff.read().copy() for blob in self.bottom]


def make_layer(
    param: str | LayerParameter,
    bottoms: Sequence[Any],
    *,
    ops: Ops | None = None,
    registry: Mapping[str, type[Layer]] = LAYERS,
    phase: int = TRAIN,
    seed: int = 1,
    folders: tuple[Path, ...] = (Path(),),
) -> SingleLayer:
    """Sets a layer up as a net would.

    param: the inside of a `layer { }` block as text, or a message; the name, the bottoms and, where
    there is one, the top may be left out. A name that is both bottom and top makes a layer in
    place.  bottoms: arrays, in the order of bottoms.  ops: the backend, numpy's in float32 by
    default.

    The layers of the tree are registered by `import caffepy.layers`.
    Raises: NetError where the type is not registered; what the layer refuses.
    """
    ops = ops or NumpyOps()
    if isinstance(param, str):
        param = text.parse(param, LayerParameter)
    cls = registry.get(param.type)
    if cls is None:
        raise NetError(f"{type_place(param)}: {unknown_type(param.type, registry)}")
    if not param.name:
        param.name = "layer"
    if not param.bottom:
        param.bottom.extend(f"bottom_{index}" for index in range(len(bottoms)))
    if not param.top and cls.tops != 0:
        param.top.append("top_0")
    blobs: dict[str, Blob] = {}
    bottom = []
    for name, array in zip(param.bottom, bottoms, strict=True):
        blob = blobs.setdefault(name, Blob(name, np.shape(array), ops.dtype))
        blob.data.write()[...] = array
        bottom.append(blob)
    top = [blobs.setdefault(name, Blob(name, (), ops.dtype)) for name in param.top]
    layer = cls(param, LayerContext(phase, ops, filler.fill, seed, folders=folders))
    layer.check_blob_counts(len(bottom), len(top))
    if not layer.in_place_allowed:
        layer.refuse_in_place(bottom, top)
    layer.setup(bottom, top)
    layer.reshape(bottom, top)
    layer.refuse_unread_blocks()
    layer.param_propagate_down = [True] * len(layer.blobs)
    for index, blob in enumerate(top):
        if layer.loss_weight(index):
            blob.diff.write()[...] = layer.loss_weight(index)
    return SingleLayer(layer, bottom, top)
