"""What benchmarks of single layers run: each type with the fields and shapes of well-known nets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.layer_bottoms import (
    Bottom,
    between,
    labels,
    marks,
    normal,
    ones,
    regions,
    shares,
    ssd_boxes,
    ssd_priors,
    ssd_scores,
)
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import LayerParameter

Shape = tuple[int, ...]

COMPUTE_NOTHING = "Input", "Parameter"


@dataclass(frozen=True)
class Case:
    """A layer to be timed.

    fields: the inside of its `layer { }` block but for type and names.  tops: how many.
    learns: whether it has a gradient.  drawn: whether its tops are random, so that only their means
    can be compared.
    """

    type: str
    fields: str
    bottoms: tuple[Bottom, ...]
    variant: str = ""
    tops: int = 1
    learns: bool = True
    drawn: bool = False

    @property
    def name(self) -> str:
        return f"{self.type} {self.variant}".rstrip()

    @property
    def param(self) -> LayerParameter:
        """The layer with names for its bottoms and tops."""
        names = [f'bottom: "bottom_{index}"' for index in range(len(self.bottoms))]
        names += [f'top: "top_{index}"' for index in range(self.tops)]
        block = f'name: "layer" type: "{self.type}" {self.fields} {" ".join(names)}'
        return text.parse(block, LayerParameter)


def cases(batch: int = 64) -> list[Case]:
    """All of them, by type; `batch` samples, a quarter of that where images are large."""
    few = max(1, batch // 4)
    return sorted(
        (*_elementwise(batch), *_windows(batch, few), *_shapes(batch), *_losses(batch, few)),
        key=lambda case: case.name,
    )


def _elementwise(batch: int) -> list[Case]:
    shape = batch, 32, 32, 32  # the first feature maps of Caffe's CIFAR-10 example
    x, y = (normal(*shape),), (normal(*shape), normal(*shape))
    slopes = 'filler { type: "uniform" min: 0.1 max: 0.9 }'
    factors = f"scale_param {{ bias_term: true {slopes} }}"
    return [
        Case("AbsVal", "", x),
        Case("BNLL", "", x),
        Case("BN", "bn_param { slope_filler { value: 2 } bias_filler { value: 1 } }", x),
        Case("BatchNorm", "", x),
        Case("Bias", "", x),
        Case("Clip", "clip_param { min: -1 max: 1 }", x),
        Case("Dropout", "", x, drawn=True),
        Case("ELU", "", x),
        Case("Eltwise", "eltwise_param { operation: SUM }", y, "SUM"),
        Case("Eltwise", "eltwise_param { operation: PROD }", y, "PROD"),
        Case("Eltwise", "eltwise_param { operation: MAX }", y, "MAX"),
        Case("Exp", "", x),
        Case("Log", "", (between(0.1, 2, *shape),)),
        Case("MVN", "", x),
        Case("Mish", "", x),
        Case("Normalize", "norm_param { across_spatial: false channel_shared: false }", x),
        Case("PReLU", "", x),
        Case("Power", "power_param { power: 2 scale: 0.5 shift: 1 }", x, "2"),
        Case("Power", "power_param { power: 0.75 }", (between(0.1, 2, *shape),), "0.75"),
        Case("ReLU", "", x),
        Case("ReLU", "relu_param { negative_slope: 0.1 }", x, "leaky"),
        Case("ReLU6", "", x),
        Case("Scale", factors, x),
        Case("Scale", "scale_param { axis: 0 }", y, "two bottoms"),
        Case("Sigmoid", "", x),
        Case("Softmax", "", (normal(batch, 1000),)),
        Case("Softmax", "", x, "of pixels"),
        Case("Swish", "", x),
        Case("TanH", "", x),
        Case("Threshold", "", x, learns=False),
    ]


def _windows(batch: int, few: int) -> list[Case]:
    def convolution(fields: str) -> str:
        return f"convolution_param {{ {fields} {_weights()} }}"

    def pooling(fields: str) -> str:
        return f"pooling_param {{ {fields} kernel_size: 3 stride: 2 }}"

    cifar, caffenet = (normal(batch, 32, 16, 16),), (normal(few, 96, 27, 27),)
    large = (normal(few, 96, 55, 55),)
    depthwise = "num_output: 96 kernel_size: 3 pad: 1 group: 96"
    return [
        Case("Convolution", convolution("num_output: 32 kernel_size: 5 pad: 2"), cifar, "5x5"),
        Case("Convolution", convolution("num_output: 64 kernel_size: 1"), cifar, "1x1"),
        Case(
            "Convolution",
            convolution("num_output: 256 kernel_size: 5 pad: 2 group: 2"),
            caffenet,
            "5x5 group 2",
        ),
        Case("Convolution", convolution(depthwise), caffenet, "3x3 depthwise"),
        Case("ConvolutionDepthwise", convolution(depthwise), caffenet),
        Case("DepthwiseConvolution", convolution(depthwise), caffenet),
        Case(
            "Convolution",
            convolution("num_output: 64 kernel_size: 3 pad: 2 dilation: 2"),
            cifar,
            "3x3 dilation 2",
        ),
        Case("Deconvolution", convolution("num_output: 32 kernel_size: 4 stride: 2 pad: 1"), cifar),
        *_enlargements(max(1, batch // 64)),
        Case("Im2col", "convolution_param { kernel_size: 3 pad: 1 }", cifar),
        Case("LRN", "lrn_param { alpha: 0.0001 }", large, "across"),
        Case(
            "LRN",
            "lrn_param { local_size: 3 alpha: 0.00005 norm_region: WITHIN_CHANNEL }",
            cifar,
            "within",
        ),
        Case("Pooling", pooling("pool: MAX"), large, "MAX"),
        Case("Pooling", pooling("pool: AVE"), large, "AVE"),
        Case(
            "Pooling",
            "pooling_param { pool: AVE global_pooling: true }",
            (normal(few, 512, 7, 7),),
            "AVE global",
        ),
        Case(
            "Pooling",
            "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }",
            (between(0.1, 1, *(batch, 32, 32, 32)),),
            "STOCHASTIC",
            drawn=True,
        ),
        Case(
            "PSROIPooling",
            "psroi_pooling_param { spatial_scale: 0.0625 output_dim: 21 group_size: 7 }",
            (normal(1, 1029, 38, 63), regions(1, 2 * batch)),
        ),
        Case(
            "ROIPooling",
            "roi_pooling_param { spatial_scale: 0.0625 pooled_h: 7 pooled_w: 7 }",
            (normal(1, 512, 38, 63), regions(1, 2 * batch)),
        ),
        Case("SPP", "spp_param { pyramid_height: 3 }", cifar),
    ]


def _enlargements(batch: int) -> list[Case]:
    """Scores of 21 classes made bigger, as fully convolutional nets do."""
    return [
        Case(
            "Deconvolution",
            f"convolution_param {{ num_output: 21 kernel_size: {2 * factor} stride: {factor} "
            f'group: {group} bias_term: false weight_filler {{ type: "gaussian" std: 0.1 }} }}',
            (normal(batch, 21, size, size),),
            f"by {factor} group {group}",
        )
        for factor, size in ((2, 16), (8, 70), (16, 38), (32, 16))
        for group in (1, 21)
    ]


def _shapes(batch: int) -> list[Case]:
    shape = batch, 32, 32, 32
    x = (normal(*shape),)
    recurrent = f"recurrent_param {{ num_output: 256 {_weights()} }}"
    sequences = normal(16, batch, 256), marks(16, batch)
    return [
        Case("ArgMax", "", (normal(batch, 1000),), learns=False),
        Case("Axpy", "", (normal(batch, 32), *x, *x)),
        Case("BatchReindex", "", (*x, labels(batch, batch))),
        Case("Concat", "", (*x, *x)),
        Case(
            "Crop", "crop_param { offset: 4 }", (*x, Bottom(normal(batch, 32, 24, 24).draw, False))
        ),
        Case(
            "CropCenter",
            "crop_center_param { crop_size: 0 crop_size: 0 crop_size: 4 crop_size: 4 }",
            x,
        ),
        Case(
            "DummyData",
            f'dummy_data_param {{ shape {{ {_dims(shape)} }} data_filler {{ type: "gaussian" }} }}',
            (),
            learns=False,
            drawn=True,
        ),
        Case(
            "Embed",
            f"embed_param {{ num_output: 256 input_dim: 8000 {_weights()} }}",
            (labels(8000, 16, batch),),
        ),
        Case("Filter", "", (*x, labels(2, batch))),
        Case("Flatten", "", x),
        Case(
            "InnerProduct",
            f"inner_product_param {{ num_output: 500 {_weights()} }}",
            (normal(batch, 800),),
            "LeNet",
        ),
        Case(
            "InnerProduct",
            f"inner_product_param {{ num_output: 1000 {_weights()} }}",
            (normal(batch, 4096),),
            "CaffeNet",
        ),
        Case(
            "Interp", "interp_param { zoom_factor: 4 }", (normal(max(1, batch // 16), 32, 33, 33),)
        ),
        Case("LSTM", recurrent, sequences),
        Case(
            "LSTMUnit",
            "",
            (normal(1, batch, 256), normal(1, batch, 1024), ones(1, batch)),
            tops=2,
        ),
        Case("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", x),
        Case(
            "PriorBox",
            "prior_box_param { min_size: 30 max_size: 60 aspect_ratio: 2 }",
            (Bottom(normal(1, 1, 38, 38).draw, False), Bottom(normal(1, 3, 300, 300).draw, False)),
            learns=False,
        ),
        Case("RNN", recurrent, sequences),
        Case("Reduction", "reduction_param { axis: 1 operation: SUM }", x, "SUM"),
        Case("Reduction", "reduction_param { axis: 1 operation: ASUM }", x, "ASUM"),
        Case("Reduction", "reduction_param { axis: 1 operation: SUMSQ }", x, "SUMSQ"),
        Case("Reduction", "reduction_param { axis: 1 operation: MEAN }", x, "MEAN"),
        Case("Reorg", "reorg_param { stride: 2 }", x),
        Case("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", x),
        Case("ShuffleChannel", "shuffle_channel_param { group: 4 }", x),
        Case("Silence", "", x, tops=0),
        Case("Slice", "slice_param { slice_point: 12 }", x, tops=2),
        Case("Split", "", x, tops=2),
        *_larger(batch),
        Case("Tile", "tile_param { tiles: 4 }", (normal(batch, 8, 32, 32),)),
    ]


def _larger(batch: int) -> list[Case]:
    """Upsample, by copies and by the mask of windows of 2 x 2."""
    shape = batch, 32, 16, 16

    def mask(random: np.random.Generator) -> np.ndarray:
        rows, columns = (2 * np.arange(16) + random.integers(0, 2, shape) for _ in range(2))
        return (rows.swapaxes(2, 3) * 32 + columns).astype(np.float32, "C")

    x = normal(*shape)
    return [
        Case("Upsample", "upsample_param { scale: 2 }", (x,), "nearest"),
        Case("Upsample", "upsample_param { scale: 2 }", (x, Bottom(mask, False)), "by mask"),
    ]


def _losses(batch: int, few: int) -> list[Case]:
    scores, classes = normal(batch, 1000), labels(1000, batch)
    pixels, of_pixels = normal(few, 21, 64, 64), labels(21, few, 1, 64, 64)
    pair = normal(batch, 256), normal(batch, 256)
    ssd = normal(few, 8732 * 4), normal(few, 8732 * 21), ssd_priors(8732), ssd_boxes(few, 5, 21)
    detections = "detection_output_param { num_classes: 21 code_type: CENTER_SIZE keep_top_k: 200 "
    detections += "confidence_threshold: 0.25 nms_param { nms_threshold: 0.45 top_k: 400 } }"
    multibox = "multibox_loss_param { num_classes: 21 code_type: CENTER_SIZE"
    infogain = normal(batch, 100), labels(100, batch), Bottom(between(0, 1, 100, 100).draw, False)
    return [
        Case("Accuracy", "", (scores, classes), learns=False),
        Case("Accuracy", "", (pixels, of_pixels), "of pixels", learns=False),
        Case(
            "CenterLoss",
            'center_loss_param { num_output: 1000 center_filler { type: "xavier" } } '
            "loss_weight: 1",
            (normal(batch, 256), classes),
        ),
        Case(
            "ContrastiveAccuracy",
            "contrastive_accuracy_param { margin: 22 }",
            (*pair, labels(2, batch)),
            learns=False,
        ),
        Case(
            "ContrastiveLoss",
            "contrastive_loss_param { margin: 24 }",
            (*pair, labels(2, batch)),
        ),
        Case(
            "DetectionOutput", detections, (ssd[0], ssd_scores(few, 8732, 21), ssd[2]), learns=False
        ),
        Case("EuclideanLoss", "", (normal(batch, 4096), normal(batch, 4096))),
        Case("FocalLoss", "", (pixels, of_pixels), "of pixels"),
        Case("HingeLoss", "hinge_loss_param { norm: L1 }", (scores, classes), "L1"),
        Case("HingeLoss", "hinge_loss_param { norm: L2 }", (scores, classes), "L2"),
        Case("InfogainLoss", "", infogain),
        Case("MultiBoxFocalLoss", f"{multibox} mining_type: NONE }}", ssd),
        Case("MultiBoxLoss", f"{multibox} }}", ssd, "SSD300"),
        Case("MultinomialLogisticLoss", "", (Bottom(shares(batch, 1000).draw), classes)),
        Case(
            "SigmoidCrossEntropyLoss",
            "",
            (normal(batch, 4096), Bottom(between(0, 1, batch, 4096).draw, False)),
        ),
        Case("SmoothL1Loss", "loss_weight: 1", (normal(batch, 4096), normal(batch, 4096))),
        Case("SmoothL1LossOHEM", "loss_weight: 1", (normal(8 * batch, 84), normal(8 * batch, 84))),
        Case("SoftmaxWithLossOHEM", "", (scores, classes)),
        Case(
            "BoxAnnotatorOHEM",
            "box_annotator_ohem_param { roi_per_img: 128 }",
            (
                regions(2, 8 * batch),
                between(0, 1, 8 * batch),
                labels(21, 8 * batch),
                between(0, 1, 8 * batch, 8),
            ),
            tops=2,
            learns=False,
        ),
        Case("SoftmaxCrossEntropyLoss", "", (normal(few, 313, 32, 32), shares(few, 313, 32, 32))),
        Case("SoftmaxWithLoss", "", (scores, classes)),
        Case("SoftmaxWithLoss", "", (pixels, of_pixels), "of pixels"),
        Case("TripletLoss", "", (*pair, normal(batch, 256))),
    ]


def _weights() -> str:
    return 'weight_filler { type: "gaussian" std: 0.05 }'


def _dims(shape: Shape) -> str:
    return " ".join(f"dim: {size}" for size in shape)
