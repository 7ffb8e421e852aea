"""Crop: cuts a blob to the size of another."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("Crop")
class CropLayer(Layer):
    """The piece of bottom[0] that begins at `offset` and has the sizes of bottom[1], from `axis`
    on; axes before that are left whole.

    bottom[0]: any shape with at least 1 axis   bottom[1]: its sizes count, not its content
    top[0]: bottom[0]'s sizes before `axis`, bottom[1]'s from `axis` on
    crop_param: axis (2): negative ones count from the end; offset (0): one for all axes from `axis`
    on, or one for each

    bottom[1] gets no gradient; where it needs one, that is 0.

    Raises: ShapeError where the axis does not exist, the number of offsets does not fit, or the
    piece reaches beyond bottom[0].
    Source: Caffe's layer catalogue, Crop.

    Example: score (2, 21, 40, 40), data (2, 3, 32, 32) -> y (2, 21, 32, 32)
        layer { name: "y" type: "Crop" bottom: "score" bottom: "data" top: "y"
          crop_param { offset: 4 } }
    """

    bottoms = 2

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        whole, reference = bottom
        axis = self.canonical_axis(self.param.crop_param.axis, whole, "crop_param.axis")
        if reference.num_axes < whole.num_axes:
            self.shape_error(
                f"bottom '{reference.name}'",
                f"as many axes as '{whole.name}' of shape {whole.shape}",
                f"shape {reference.shape}",
                "Reshape one of them.",
            )
        offsets = self._offsets(whole.num_axes - axis)
        shape = whole.shape[:axis] + reference.shape[axis : whole.num_axes]
        for place, offset in enumerate(offsets, axis):
            if offset + shape[place] > whole.shape[place]:
                self.shape_error(
                    f"bottom '{whole.name}' of shape {whole.shape}",
                    f"at least {offset + shape[place]} elements in axis {place}: offset {offset} "
                    f"and the {shape[place]} of '{reference.name}'",
                    str(whole.shape[place]),
                    "Take smaller offsets, or a smaller reference.",
                )
        top[0].reshape(shape)
        self.op = self.ops.crop((0,) * axis + offsets, shape)
        self.zeros = self.ops.fill(0.0)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, out=bottom[0].diff)
        if propagate_down[1]:
            self.zeros.forward(out=bottom[1].diff)

    def _offsets(self, axes: int) -> tuple[int, ...]:
        """One per axis that is cut."""
        given = tuple(self.param.crop_param.offset) or (0,)
        if len(given) not in (1, axes):
            self.shape_error(
                "crop_param.offset",
                f"one number, or one for each of the {axes} axes from axis "
                f"{self.param.crop_param.axis} on",
                f"{len(given)} numbers",
                "Give as many as axes are cut.",
            )
        return given * axes if len(given) == 1 else given
