"""SmoothL1Loss: a loss of regression that far targets do not dominate."""

from __future__ import annotations

import math

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.smooth_l1_layer import SmoothL1Layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("SmoothL1Loss")
class SmoothL1LossLayer(SmoothL1Layer):
    """E = 1/N sum of w_out f(w_in (a - b)); f(d) = (sigma d)^2 / 2 where |d| < 1 / sigma^2, else
    |d| - 1 / (2 sigma^2).

    bottom[0], bottom[1]: a, b, (N, ...), as many elements each; both get a gradient
    bottom[2], bottom[3]: w_in, w_out, as many elements, 1 where not given; their gradient is 0
    top[0]: scalar
    smooth_l1_loss_param: sigma (1): above 0

    The loss weight is 1 by default with two bottoms and no smooth_l1_loss_param, as in SSD. With
    that block, even empty, or with weights it is Fast R-CNN's layer, whose default is 0: it warns
    where the prototxt gives none.

    Raises: ShapeError where the bottoms differ in size; NetError at a sigma that is not above 0.
    Differs: Fast R-CNN's layer takes w_in and w_out only together, its first version w_in only.
    Source: R. Girshick, "Fast R-CNN", ICCV 2015, the forks to it and to SSD.

    Example: pred (8, 4), target (8, 4) -> loss ()
        layer { name: "loss" type: "SmoothL1Loss" bottom: "pred" bottom: "target" top: "loss"
          smooth_l1_loss_param { sigma: 3 } loss_weight: 1 }
    """

    bottoms = (2, 4)

    @property
    def has_default_weight(self) -> bool:
        return len(self.param.bottom) == 2 and not self.param.HasField("smooth_l1_loss_param")

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        sigma = self.param.smooth_l1_loss_param.sigma
        if not (math.isfinite(sigma) and sigma > 0):
            self.error(
                f"smooth_l1_loss_param.sigma: expected a number above 0, got {sigma:g}. Correct it."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        samples = bottom[0].shape[0]
        self.op = self.ops.smooth_l1_loss(
            AxisGeometry(1, bottom[0].count, 1),
            samples or 1,
            self.param.smooth_l1_loss_param.sigma,
        )
        return True
