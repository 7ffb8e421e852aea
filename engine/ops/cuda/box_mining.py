"""Mining of the priors that count, on a GPU."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.box_matching import coding
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.multibox_geometry import LocationLoss, Mining, MultiBox, Suppression

NO_SUPPRESSION = Suppression(0, -1, True)  # as kernels are told


class CudaMineBoxes(CudaOp):
    """The class that each prior should be, or that it does not count.

    How hard a prior is: its cross entropy, with HARD_EXAMPLE that of its location besides. nan is
    hardest; of equal ones the lower prior counts.
    """

    family = "box_mining"

    def __init__(
        self,
        ops: DeviceOps,
        geometry: MultiBox,
        mining: Mining,
        logistic: bool,
        location_loss: LocationLoss,
    ) -> None:
        """logistic: the scores go through a sigmoid.  location_loss: that of the matches, of which
        the weight does not count."""
        super().__init__(ops)
        self.geometry = geometry
        self.mining = mining
        self.logistic = logistic
        self.location_loss = location_loss
        count = geometry.images * geometry.priors
        ops.workspace.reserve("box_hardness", count)
        ops.workspace.reserve("box_state", count, np.int32)

    @step(reads="locations scores priors truth matches", writes="matches out")
    def forward(
        self,
        locations: Value,
        scores: Value,
        priors: Value,
        truth: Value,
        *,
        matches: Value,
        out: Value,
    ) -> None:
        """locations: (N, P, L, 4) elements.  scores: (N, P, C) elements; probabilities where they
        are not logistic.  priors: (2, P, 4) elements.  truth: (R, 8) elements.  matches: (N, G, P)
        int32, rows of the truth; with HARD_EXAMPLE those that are not mined become FREE.  out:
        (N, P) int32, classes or C for none; -1 where the prior does not count."""
        geometry, mining = self.geometry, self.mining
        count, priors_count = out.count, geometry.priors
        agnostic = geometry.background + 1 if geometry.agnostic else -1
        background = geometry.background_target
        if mining.kind == "NONE":
            rest = geometry.classes if self.logistic else background
            targets = rest, agnostic, truth, matches, out
            self.launch("take_all", count, priors_count, geometry.groups, *targets)
            return
        hardness = self.ops.workspace.take("box_hardness")
        state = self.ops.workspace.take("box_state")
        hard = mining.kind == "HARD_EXAMPLE"
        self.launch(
            "box_hardness",
            count,
            priors_count,
            geometry.classes,
            background,
            self.logistic,
            hard,
            self.location_loss.kind == "SMOOTH_L1",
            geometry.by_prior,
            self.location_loss.inside,
            *coding(geometry),
            locations,
            scores,
            priors,
            truth,
            matches,
            hardness,
        )
        suppression = mining.suppression or NO_SUPPRESSION
        self.launch_rows(
            "mine_boxes",
            geometry.images,
            priors_count,
            hard,
            max(0, mining.size),
            mining.ratio,
            suppression.threshold,
            suppression.top_k,
            suppression.by_prior,
            *coding(geometry),
            background,
            agnostic,
            locations,
            priors,
            truth,
            hardness,
            matches,
            state,
            out,
        )
