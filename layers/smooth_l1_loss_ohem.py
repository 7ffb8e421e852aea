"""SmoothL1LossOHEM: the smooth L1 loss, and that of each region by itself."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.smooth_l1_layer import SmoothL1Layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("SmoothL1LossOHEM")
class SmoothL1LossOHEMLayer(SmoothL1Layer):
    """E = 1/M sum of f(w (a - b)); f(d) = d^2 / 2 where |d| < 1, else |d| - 1/2.

    bottom[0], bottom[1]: a, b, (N, C, ...) of at most 4 axes, as many elements each; both get a
    gradient   bottom[2]: w, as many elements, 1 where not given; its gradient is 0
    top[0]: scalar   top[1]: (N, 1, H, W), may be left out: the sum over channels at each position,
    not divided; no gradient comes back from it
    loss_param: normalization (VALID): M is FULL or VALID N H W, BATCH_SIZE N, NONE 1, PRE_FIXED
    pre_fixed_normalizer, and at least 1; pre_fixed_normalizer (1): see there; normalize (none): old
    form, true VALID, false BATCH_SIZE; ignore_label (none): of no effect

    The loss weight is 0 by default: the layer warns where the prototxt gives none.

    Raises: ShapeError where the bottoms differ in size; NetError where the second top has a loss
    weight.
    Differs: the fork leaves w out of the gradient, which is the same where it is 0 or 1.
    Source: J. Dai et al., "R-FCN", NIPS 2016, and the fork to it.

    Example: pred (8, 4), target (8, 4), weight (8, 4) -> loss (), per_region (8, 1, 1, 1)
        layer { name: "loss" type: "SmoothL1LossOHEM" bottom: "pred" bottom: "target"
          bottom: "weight" top: "loss" top: "per_region" loss_weight: 1 loss_weight: 0
          loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 128 } }
    """

    bottoms = (2, 3)
    tops = (1, 2)
    normalizations = (*LossNormalization.MODES, "PRE_FIXED")

    @property
    def has_default_weight(self) -> bool:
        return False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        self.refuse_other_losses()

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        shape = bottom[0].shape + (1,) * (4 - bottom[0].num_axes)
        if len(shape) > 4:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                "at most 4 axes (N, C, H, W)",
                f"shape {shape}",
                "Reshape it.",
            )
        geometry = AxisGeometry.around(shape, 1)
        positions = geometry.outer * geometry.inner
        normalization = self.normalization(geometry.outer, geometry.inner)
        self.op = self.ops.smooth_l1_loss(geometry, normalization.divisor(positions), 1.0)
        for blob in top[1:]:
            blob.reshape((shape[0], 1, *shape[2:]))
        return True
