"""A small R-FCN with online hard example mining, built as the published ones are."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from tests.nets import make_net

NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 32 dim: 48 } } }
layer { name: "rois" type: "Input" top: "rois"
  input_param { shape { dim: 24 dim: 5 dim: 1 dim: 1 } } }
layer { name: "labels" type: "Input" top: "labels"
  input_param { shape { dim: 24 dim: 1 dim: 1 dim: 1 } } }
layer { name: "targets" type: "Input" top: "bbox_targets" top: "bbox_inside_weights"
  top: "bbox_outside_weights" input_param { shape { dim: 24 dim: 8 dim: 1 dim: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 12 kernel_size: 3 pad: 1 stride: 2
    weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "rfcn_cls" type: "Convolution" bottom: "conv" top: "rfcn_cls"
  convolution_param { num_output: 12 kernel_size: 1 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "rfcn_bbox" type: "Convolution" bottom: "conv" top: "rfcn_bbox"
  convolution_param { num_output: 32 kernel_size: 1 weight_filler { type: "gaussian" std: 0.1 } } }
layer { bottom: "rfcn_cls" bottom: "rois" top: "psroipooled_cls_rois" name: "psroipooled_cls_rois"
  type: "PSROIPooling" psroi_pooling_param { spatial_scale: 0.5 output_dim: 3 group_size: 2 } }
layer { bottom: "psroipooled_cls_rois" top: "cls_score" name: "ave_cls_score_rois" type: "Pooling"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { bottom: "rfcn_bbox" bottom: "rois" top: "psroipooled_loc_rois" name: "psroipooled_loc_rois"
  type: "PSROIPooling" psroi_pooling_param { spatial_scale: 0.5 output_dim: 8 group_size: 2 } }
layer { bottom: "psroipooled_loc_rois" top: "bbox_pred" name: "ave_bbox_pred_rois" type: "Pooling"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "per_roi_loss_cls" type: "SoftmaxWithLossOHEM" bottom: "cls_score" bottom: "labels"
  top: "temp_loss_cls" top: "temp_prob_cls" top: "per_roi_loss_cls"
  loss_weight: 0 loss_weight: 0 loss_weight: 0 propagate_down: false propagate_down: false }
layer { name: "per_roi_loss_bbox" type: "SmoothL1LossOHEM" bottom: "bbox_pred"
  bottom: "bbox_targets" bottom: "bbox_inside_weights" top: "temp_loss_bbox"
  top: "per_roi_loss_bbox" loss_weight: 0 loss_weight: 0
  propagate_down: false propagate_down: false propagate_down: false }
layer { name: "per_roi_loss" type: "Eltwise" bottom: "per_roi_loss_cls" bottom: "per_roi_loss_bbox"
  top: "per_roi_loss" propagate_down: false propagate_down: false }
layer { bottom: "rois" bottom: "per_roi_loss" bottom: "labels" bottom: "bbox_inside_weights"
  top: "labels_ohem" top: "bbox_loss_weights_ohem" name: "annotator_detector"
  type: "BoxAnnotatorOHEM" box_annotator_ohem_param { roi_per_img: 5 ignore_label: -1 }
  propagate_down: false propagate_down: false propagate_down: false propagate_down: false }
layer { name: "silence" type: "Silence" bottom: "bbox_outside_weights" bottom: "temp_loss_cls"
  bottom: "temp_prob_cls" bottom: "temp_loss_bbox" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "cls_score" bottom: "labels_ohem"
  top: "loss_cls" loss_weight: 1 loss_param { ignore_label: -1 }
  propagate_down: true propagate_down: false }
layer { name: "accuracy" type: "Accuracy" bottom: "cls_score" bottom: "labels_ohem"
  top: "accuracy" accuracy_param { ignore_label: -1 }
  propagate_down: false propagate_down: false }
layer { name: "loss_bbox" type: "SmoothL1LossOHEM" bottom: "bbox_pred" bottom: "bbox_targets"
  bottom: "bbox_loss_weights_ohem" top: "loss_bbox" loss_weight: 1
  loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 10 }
  propagate_down: true propagate_down: false propagate_down: false }
"""


def give(net: Net) -> None:
    """Two images with regions of one of two colours, the class, on a dark ground."""
    random = np.random.default_rng(0)
    data = random.uniform(-0.1, 0.1, (2, 3, 32, 48))
    rois, labels = np.zeros((24, 5)), np.zeros(24)
    weights = np.zeros((24, 8))
    for row in range(24):
        image, column = row % 2, row // 2 % 4
        labels[row] = (row // 2 % 4) % 3
        rois[row] = image, 12 * column, 3, 12 * column + 9, 25 + row % 3
        if labels[row]:
            data[image, int(labels[row]), 3:26, 12 * column : 12 * column + 10] += 1
            weights[row, 4:] = 1
    targets = weights * np.where(labels == 1, 0.7, -0.4)[:, None]
    for name, array in (
        ("data", data),
        ("rois", rois),
        ("labels", labels),
        ("bbox_targets", targets),
        ("bbox_inside_weights", weights),
        ("bbox_outside_weights", weights),
    ):
        blob = net.blobs[name]
        blob.data.write()[...] = array.reshape(blob.shape)


def step(net: Net, rate: float) -> float:
    """One step of gradient descent; the loss before it."""
    net.parameters.clear_diffs()
    net.forward_backward()
    loss = float(net.loss.read())
    for layer in net.layers:
        for blob in layer.blobs:
            blob.data.modify()[...] -= rate * blob.diff.read()
    return loss


def test_it_learns_from_the_hardest_regions(ops: Ops) -> None:
    net = make_net(NET, ops, seed=1)
    give(net)
    losses = [step(net, 0.2) for _ in range(40)]
    assert losses[-1] < 0.2 * losses[0]
    assert net.blobs["accuracy"].data.read() == 1


def test_the_loss_is_that_of_what_was_mined(ops: Ops) -> None:
    net = make_net(NET, ops, seed=1)
    give(net)
    net.forward_backward()
    of_each = net.blobs["per_roi_loss"].data.read().ravel()
    images = net.blobs["rois"].data.read().reshape(-1, 5)[:, 0]
    mined = net.blobs["labels_ohem"].data.read().ravel() >= 0
    for image in (0, 1):
        inside = images == image
        assert np.count_nonzero(mined & inside) == 5
        assert of_each[inside & mined].min() >= of_each[inside & ~mined].max()
    by_class = net.blobs["per_roi_loss_cls"].data.read().ravel()
    assert net.blobs["loss_cls"].data.read() == pytest.approx(by_class[mined].mean(), rel=1e-5)
    by_box = net.blobs["per_roi_loss_bbox"].data.read().ravel()
    expected = by_box[mined].sum() / 10
    assert net.blobs["loss_bbox"].data.read() == pytest.approx(expected, rel=1e-5)
    gradient = net.blobs["cls_score"].diff.read().reshape(24, -1)
    assert gradient[mined].any(axis=1).all()
    assert not gradient[~mined].any()
