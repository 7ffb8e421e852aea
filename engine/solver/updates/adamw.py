"""AdamW: Adam whose weight decay does not pass through the running means."""

from __future__ import annotations

from caffepy.engine.solver.updates.adam import Adam
from caffepy.engine.solver.updates.rule import register_rule


@register_rule("AdamW")
class AdamW(Adam):
    """As Adam with g = diff, and W = W - rate (c M / (sqrt(V) + delta) + decay W)

    SolverParameter: those of Adam; with regularization_type "L1" the decay is that of sign(W).
    history: as Adam's

    Differs: BVLC Caffe has no AdamW. A fork that has one (AdamWR) subtracts decay W without the
    rate. The restarts of jolibrain's fork, decoupled_wd_t0 and decoupled_wd_mult, are refused.
    Source: I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", 2019.
    """

    decoupled = True
