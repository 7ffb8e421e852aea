"""MultiBoxLoss: the loss of SSD, of where objects are and of what they are."""

from __future__ import annotations

from caffepy.engine.core.registry import register_layer
from caffepy.engine.multibox import MultiBoxLayer


@register_layer("MultiBoxLoss")
class MultiBoxLossLayer(MultiBoxLayer):
    """Loss of SSD's predictions: of where objects are, and of what they are,
    E = loc_weight / Z sum of f(location - wanted location) + 1/Z sum of -log(softmax(x)[class]).

    Boxes of the truth are matched with priors: first the pair that overlaps most (intersection over
    union above 1e-6), each box and prior once, then every other prior whose best box overlaps it
    enough. Matched priors should have the location and class of their box; of the others, those
    that are mined should be background.

    bottom[0]: (N, P*4) locations of P priors, or (N, P*C*4) without share_location, coordinate
    fastest   bottom[1]: (N, P*C) scores of C classes, class fastest
    bottom[2]: (1, 2, P*4) priors, boxes and variances, as PriorBox gives them
    bottom[3]: (1, 1, R, 8) boxes: image, class, instance, xmin, ymin, xmax, ymax, difficult; rows
    of image -1 are empty   top[0]: scalar
    multibox_loss_param: num_classes: C; background_label_id (0): one of them, with LOGISTIC also
    none; share_location (true): one location for all classes of a prior, else one for each;
    loc_loss_type (SMOOTH_L1): f(d) is d^2/2, from |d| = 1 on |d| - 1/2, with L2 always d^2/2;
    loc_weight (1); conf_loss_type (SOFTMAX): with LOGISTIC the cross entropy of a sigmoid for each
    class; code_type (CORNER): how locations are written, CORNER (box - prior) / v with the
    variances v, CORNER_SIZE the same by the prior's size, CENTER_SIZE the difference of the centres
    by the prior's size and log(size / prior's size), both by v; encode_variance_in_target (false):
    locations are written without v, and d is divided by it; match_type (PER_PREDICTION): with
    BIPARTITE a box has the one prior of the first step and no more; overlap_threshold (0.5): what
    is enough; use_prior_for_matching (true): false matches the predicted boxes in place of the
    priors; use_difficult_gt (true): difficult boxes count; ignore_cross_boundary_bbox (false):
    priors that leave the image are not matched, and no negatives of mining; bp_inside (false):
    sides of matched priors that lie outside of the image do not count; map_object_to_agnostic
    (false): all objects are of the class after the background; mining_type (MAX_NEGATIVE): of the
    unmatched priors of an image those with the largest class loss count, as background,
    HARD_EXAMPLE: of all its priors those with the largest class and location loss count, matched or
    not, NONE: all priors count, the unmatched ones as background, with LOGISTIC as no class;
    neg_pos_ratio (3): how many times as many as are matched MAX_NEGATIVE takes, cut to an integer;
    neg_overlap (0.5): none of them has a box that overlaps it so much; sample_size (64): how many
    HARD_EXAMPLE takes of each image; do_neg_mining (none): old form, false for NONE;
    nms_param (none): of mined priors whose boxes overlap by more than nms_threshold (0.3, 0 for no
    such limit) only that with the largest loss counts, of the first top_k (0, all for -1) priors,
    so that without top_k there is none, and of no box below 1e-5 in size, while eta has no effect
    and soft_nms is refused; use_prior_for_nms (false): these boxes are the priors, not the
    predicted ones; objectness_score (0.01): another fork's, refused
    loss_param: normalization (VALID): Z is FULL all N P priors, VALID those that are matched,
    BATCH_SIZE N, NONE 1, and at least 1; normalize (none): old form, true VALID, false BATCH_SIZE;
    ignore_label (none): of no effect
    propagate_down: a loss, of locations or classes, whose line says false is no part of E

    With mining, an image without boxes counts for nothing, whatever its priors predict; with NONE
    all of its priors are background. Of priors of equal loss the lower ones are mined.

    Raises: NetError where mining is asked for without share_location, fields contradict each other
    or are a fork's own, or priors or boxes are to get a gradient; ShapeError where the shapes do
    not fit; LabelError at a row whose image is not in the batch, whose class is the background or
    no class, or whose coordinates are not finite.
    Differs: gradients are those of E. In the fork, the one of locations lacks the division by v
    with encode_variance_in_target. With LOGISTIC and NONE, targets of all images but the first
    stand at wrong priors there, in loss and gradient; with LOGISTIC and a background_label_id other
    than 0, all other targets are that number. Rows that are refused here are left out there, or end
    the program when they are matched, as do_neg_mining: false does alone.
    Source: the SSD fork, weiliu89/caffe; W. Liu et al., "SSD: Single Shot MultiBox Detector", 2016;
    stock Caffe does not have it.

    Example: loc (2, 32), conf (2, 24), prior (1, 2, 32), label (1, 1, 3, 8) -> loss ()
        layer { name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior"
          bottom: "label" top: "loss" propagate_down: true propagate_down: true
          propagate_down: false propagate_down: false
          multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE } }
    """
