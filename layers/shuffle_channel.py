"""ShuffleChannel: mixes the channels of groups."""

from __future__ import annotations

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.ops.geometry import AxisGeometry, TransposeGeometry
from caffepy.engine.transposing import TransposingLayer


@register_layer("ShuffleChannel")
class ShuffleChannelLayer(TransposingLayer):
    """The channels, seen as (group, C / group), are transposed: channel j * group + i of the top is
    channel i * C / group + j of the bottom.

    bottom[0]: x, (N, C, ...)   top[0]: like x
    shuffle_channel_param: group (1): in so many parts

    Raises: ShapeError where there is no axis of channels; NetError where they do not divide into
    groups.
    Source: X. Zhang et al., "ShuffleNet", CVPR 2018; the fork farmingyard/ShuffleNet.

    Example: x (2, 6, 4, 4) -> y (2, 6, 4, 4)
        layer { name: "y" type: "ShuffleChannel" bottom: "x" top: "y"
          shuffle_channel_param { group: 3 } }
    """

    def arrangement(self, bottom: Blob) -> tuple[TransposeGeometry, Shape]:
        group = self.param.shuffle_channel_param.group
        axis = self.canonical_axis(1, bottom, "the axis of channels")
        around = AxisGeometry.around(bottom.shape, axis)
        if group == 0 or around.size % group:
            self.error(
                f"shuffle_channel_param.group: expected a divisor of the {around.size} channels of "
                f"'{bottom.name}', got {group}. Change it."
            )
        parts = around.outer, group, around.size // group, around.inner
        return TransposeGeometry(parts, (0, 2, 1, 3)), bottom.shape
