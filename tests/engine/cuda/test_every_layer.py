"""Every layer type on the GPU engine stands here: compared with the reference, or with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity
from tests.multibox import batch

RANDOM = np.random.default_rng(0)
WEIGHTS = 'weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "uniform" }'
TWO_TOPS = 'top: "a" top: "b"'
SEQUENCES = [RANDOM.standard_normal((3, 2, 5)), np.array([[0, 0], [1, 1], [1, 0]])]
RECURRENT = f"recurrent_param {{ num_output: 4 {WEIGHTS} }}"


def x(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape or (3, 5, 7, 11))


def positive(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0.1, 2, shape or (3, 5, 7, 11))


def labels(classes: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, classes, shape)


def shares(*shape: int) -> np.ndarray:
    found = RANDOM.uniform(0.1, 1, shape)
    return found / found.sum(1, keepdims=True)


def regions(images: int, count: int) -> np.ndarray:
    return np.column_stack([labels(images, count), RANDOM.uniform(-9, 50, (count, 4))])


# The fields of each type, its bottoms, and which of these get a gradient: all by default, () where
# the layer has none.
TABLE: dict[str, tuple[str, list[Any]] | tuple[str, list[Any], tuple[bool, ...]]] = {
    "AbsVal": ("", [x()]),
    "Accuracy": ("", [x(31, 5), labels(5, 31)], ()),
    "ArgMax": ("argmax_param { top_k: 2 }", [x(13, 17)], ()),
    "Axpy": ("", [x(3, 5), x(), x()]),
    "BN": (
        "bn_param { momentum: 0.9 slope_filler { value: 2 } bias_filler { value: -1 } }",
        [x()],
    ),
    "BNLL": ("", [x()]),
    "BatchNorm": ("", [x()]),
    "BatchReindex": ("", [x(), labels(3, 7)], (True, False)),
    "Bias": ("", [x(), x(5)]),
    "CenterLoss": (
        'center_loss_param { num_output: 5 center_filler { type: "gaussian" } } loss_weight: 2',
        [x(31, 5), labels(5, 31)],
        (True, False),
    ),
    "Clip": ("clip_param { min: -1 max: 1 }", [x()]),
    "Concat": ("", [x(), x(3, 2, 7, 11)]),
    "ContrastiveAccuracy": (
        "contrastive_accuracy_param { margin: 3 }",
        [x(31, 5), x(31, 5), labels(2, 31)],
        (),
    ),
    "ContrastiveLoss": (
        "contrastive_loss_param { margin: 3 }",
        [x(31, 5), x(31, 5), labels(2, 31)],
        (True, True, False),
    ),
    "Convolution": (f"convolution_param {{ num_output: 4 kernel_size: 3 {WEIGHTS} }}", [x()]),
    "BoxAnnotatorOHEM": (
        'top: "a" top: "b" box_annotator_ohem_param { roi_per_img: 4 }',
        [regions(3, 31), x(31), labels(5, 31), x(31, 8)],
        (),
    ),
    "ConvolutionDepthwise": (f"convolution_param {{ kernel_size: 3 {WEIGHTS} }}", [x()]),
    "CropCenter": (
        "crop_center_param { crop_size: 0 crop_size: 1 crop_size: 2 crop_size: 3 }",
        [x()],
    ),
    "Crop": ("crop_param { offset: 1 }", [x(), x(3, 5, 4, 3)], (True, False)),
    "Deconvolution": (
        f"convolution_param {{ num_output: 4 kernel_size: 3 stride: 2 {WEIGHTS} }}",
        [x()],
    ),
    "DetectionOutput": (
        "detection_output_param { num_classes: 4 nms_param { top_k: 30 } }",
        [x(3, 7 * 11 * 4), positive(3, 7 * 11 * 4), positive(1, 2, 7 * 11 * 4)],
        (),
    ),
    "DepthwiseConvolution": (
        f"convolution_param {{ num_output: 5 group: 5 kernel_size: 3 {WEIGHTS} }}",
        [x()],
    ),
    "Dropout": ("", [x()]),
    "DummyData": (
        'dummy_data_param { shape { dim: 3 dim: 17 } data_filler { type: "gaussian" } }',
        [],
        (),
    ),
    "ELU": ("", [x()]),
    "Eltwise": ("", [x(), x(), x()]),
    "Embed": (
        f"embed_param {{ num_output: 5 input_dim: 7 {WEIGHTS} }}",
        [labels(7, 13)],
        (False,),
    ),
    "EuclideanLoss": ("", [x(31, 5), x(31, 5)]),
    "Exp": ("", [x()]),
    "Filter": ("", [x(), np.array([1, 0, 1])], (True, False)),
    "Flatten": ("", [x()]),
    "FocalLoss": ("", [x(31, 5), labels(5, 31)], (True, False)),
    "HingeLoss": ("", [x(31, 5), labels(5, 31)], (True, False)),
    "Im2col": ("convolution_param { kernel_size: 3 pad: 1 }", [x()]),
    "InfogainLoss": ("", [x(31, 5), labels(5, 31), positive(5, 5)], (True, False, False)),
    "InnerProduct": (f"inner_product_param {{ num_output: 6 {WEIGHTS} }}", [x()]),
    "Interp": ("interp_param { height: 13 width: 5 }", [x()]),
    "LRN": ("", [x()]),
    "LSTM": (RECURRENT, SEQUENCES, (True, False)),
    "LSTMUnit": (TWO_TOPS, [x(1, 3, 5), x(1, 3, 20), np.ones((1, 3))], (True, True, False)),
    "Log": ("", [positive()]),
    "MVN": ("", [x()]),
    "Mish": ("", [x()]),
    "MultiBoxFocalLoss": (
        "multibox_loss_param { num_classes: 4 mining_type: NONE }",
        batch(0).bottoms,
        (True, True, False, False),
    ),
    "MultiBoxLoss": (
        "multibox_loss_param { num_classes: 4 code_type: CENTER_SIZE }",
        batch(0).bottoms,
        (True, True, False, False),
    ),
    "MultinomialLogisticLoss": ("", [shares(31, 5), labels(5, 31)], (True, False)),
    "Normalize": ("norm_param { across_spatial: false channel_shared: false }", [x()]),
    "PReLU": ("", [x()]),
    "PSROIPooling": (
        "psroi_pooling_param { spatial_scale: 0.25 output_dim: 3 group_size: 2 }",
        [x(2, 12, 7, 11), regions(2, 13)],
        (True, False),
    ),
    "Parameter": ("parameter_param { shape { dim: 3 dim: 17 } }", []),
    "Permute": ("permute_param { order: 0 order: 2 order: 3 order: 1 }", [x()]),
    "Pooling": ("pooling_param { kernel_size: 3 stride: 2 }", [x()]),
    "Power": ("power_param { power: 2 scale: 0.5 shift: 1 }", [x()]),
    "RNN": (RECURRENT, SEQUENCES, (True, False)),
    "ROIPooling": (
        "roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.25 }",
        [x(), regions(3, 13)],
        (True, False),
    ),
    "ReLU": ("relu_param { negative_slope: 0.1 }", [x()]),
    "ReLU6": ("relu6_param { negative_slope: 0.1 }", [4 * x()]),
    "Reduction": ("reduction_param { axis: 1 }", [x()]),
    "PriorBox": (
        "prior_box_param { min_size: 3 max_size: 5 aspect_ratio: 2 }",
        [x(2, 5, 3, 4), x(2, 3, 9, 12)],
    ),
    "Reorg": ("reorg_param { stride: 2 }", [x(3, 4, 6, 10)]),
    "Reshape": ("reshape_param { shape { dim: 0 dim: -1 } }", [x()]),
    "SPP": ("spp_param { pyramid_height: 2 }", [x()]),
    "Scale": ('scale_param { bias_term: true filler { type: "uniform" } }', [x()]),
    "ShuffleChannel": ("shuffle_channel_param { group: 5 }", [x(3, 20, 7, 11)]),
    "Sigmoid": ("", [x()]),
    "SigmoidCrossEntropyLoss": ("", [x(31, 5), labels(2, 31, 5)], (True, False)),
    "Silence": ("", [x()]),
    "Slice": (f"{TWO_TOPS} slice_param {{ slice_point: 2 }}", [x()]),
    "Softmax": ("", [x()]),
    "SmoothL1Loss": ("", [x(31, 5)] * 4),
    "SmoothL1LossOHEM": (TWO_TOPS, [x(31, 5)] * 3),
    "SoftmaxWithLossOHEM": (
        'top: "a" top: "b" top: "c"',
        [x(31, 5), labels(5, 31)],
        (True, False),
    ),
    "SoftmaxCrossEntropyLoss": ("", [x(31, 5), shares(31, 5)], (True, False)),
    "SoftmaxWithLoss": ("", [x(31, 5), labels(5, 31)], (True, False)),
    "Split": (TWO_TOPS, [x()]),
    "Swish": ("", [x()]),
    "TanH": ("", [x()]),
    "Threshold": ("", [x()], ()),
    "Tile": ("tile_param { tiles: 3 }", [x()]),
    "TripletLoss": ("", [x(31, 5), x(31, 5), x(31, 5)]),
    "Upsample": ("", [x(), labels(14 * 22, 3, 5, 7, 11)], (True, False)),
}

NOT_HERE = {
    "AnnotatedData": "reads a database; test_annotated_data.py runs it on the GPU engine",
    "Data": "reads a database; its batches on the GPU engine are those of test_batches.py",
    "DetectionEvaluate": "compares a few rows on the host, as its fork does",
    "HDF5Data": "reads files on the host, whose rows are copied to the device as they are",
    "HDF5Output": "writes what it gets to a file, on the host",
    "ImageData": "reads files; its batches on the GPU engine are those of test_batches.py",
    "Input": "its numbers are given by whoever runs the net",
    "MemoryData": "its numbers are given by Python code, on the host",
    "Python": "its numbers are made by Python code, on the host",
    "WindowData": "cuts its windows out of images on the host",
}


@pytest.mark.parametrize("kind", TABLE)
def test_equals_the_numpy_engine(kind: str, cuda_runtime: CudaRuntime) -> None:
    fields, bottoms, *wanted = TABLE[kind]
    learns = wanted[0] if wanted else (True,) * len(bottoms)
    check_parity(
        cuda_runtime,
        f'type: "{kind}" {fields}',
        bottoms,
        propagate_down=learns or None,
        backward=wanted != [()],
    )


def test_every_layer_type_is_compared_or_has_a_reason() -> None:
    ours = {name for name, cls in LAYERS.items() if cls.__module__.startswith("caffepy.layers.")}
    assert sorted([*TABLE, *NOT_HERE]) == sorted(ours)
