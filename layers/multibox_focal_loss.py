"""MultiBoxFocalLoss: MultiBoxLoss in which what is classified well counts for little."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.multibox import MultiBoxLayer


@register_layer("MultiBoxFocalLoss")
class MultiBoxFocalLossLayer(MultiBoxLayer):
    """MultiBoxLoss with the focal loss of the classes, -alpha (1 - p)^gamma log p, where that has
    -log p: p is the softmax of the scores at the class that a prior should be.

    bottom[0]: (N, P*4) locations of P priors, or (N, P*C*4) without share_location
    bottom[1]: (N, P*C) scores of C classes   bottom[2]: (1, 2, P*4) priors and variances
    bottom[3]: (1, 1, R, 8) boxes   top[0]: scalar
    multibox_loss_param: all fields: as in MultiBoxLoss. Meant for mining_type NONE. Mining goes by
    the cross entropy, and LOGISTIC has no focal form
    loss_param: all fields: as in MultiBoxLoss
    focal_loss_param: alpha (0.25): factor of the loss; gamma (2): how little good scores count, at
    least 0; axis (1), engine (DEFAULT): of no effect

    Raises: what MultiBoxLoss does; NetError where gamma is below 0.
    Differs: what MultiBoxLoss does; the gradient is finite where p is 0 or 1, the fork's is not.
    Source: the fork chuanqi305/FocalLoss; T.-Y. Lin et al., "Focal loss for dense object
    detection", 2017; stock Caffe does not have it.

    Example: loc (2, 32), conf (2, 24), prior (1, 2, 32), label (1, 1, 3, 8) -> loss ()
        layer { name: "loss" type: "MultiBoxFocalLoss" bottom: "loc" bottom: "conf" bottom: "prior"
          bottom: "label" top: "loss" propagate_down: true propagate_down: true
          propagate_down: false propagate_down: false
          multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE mining_type: NONE } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        param = self.param.focal_loss_param
        self.refuse_fork_fields(param)
        if not param.gamma >= 0:
            self.error(
                f"focal_loss_param.gamma: expected at least 0, got {param.gamma:g}. Raise it."
            )
        self.alpha, self.gamma = param.alpha, param.gamma
