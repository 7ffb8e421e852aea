"""Layer types that exist elsewhere, for the message to who asks for one that is not registered."""

from __future__ import annotations

from collections.abc import Iterable

from caffepy.proto.errors import did_you_mean

# BVLC Caffe's own types.
_BVLC = """
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution
    Crop Data Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten
    HDF5Data HDF5Output HingeLoss Im2col ImageData InfogainLoss InnerProduct Input LRN LSTM LSTMUnit
    Log MVN MemoryData MultinomialLogisticLoss PReLU Parameter Pooling Power Python RNN ReLU
    Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax
    SoftmaxWithLoss Split Swish TanH Threshold Tile WindowData
"""

# Types by the fork they are best known from.
_FORKS = {
    "SSD": """AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute
        PriorBox VideoData""",
    "Fast R-CNN": "ROIPooling SmoothL1Loss",
    "R-FCN": """BoxAnnotatorOHEM PSROIPooling Proposal SmoothL1LossOHEM SoftmaxWithLossOHEM""",
    "MobileNet": "ConvolutionDepthwise DepthwiseConvolution",
    "ShuffleNet": "ShuffleChannel",
    "SENet": "Axpy",
    "DeepLab and PSPNet": "DenseCRF ImageSegData Interp MatRead MatWrite SegAccuracy",
    "SegNet": "BN DenseImageData Upsample",
    "MobileNet-YOLO": """Mish ReLU6 RegionLoss Reorg SegmentationEvaluate YoloDetectionOutput
        Yolov3 Yolov3DetectionOutput""",
    "waifu2x": "CropCenter",
    "face recognition": "CenterLoss MarginInnerProduct TripletLoss",
    "FocalLoss": "FocalLoss MultiBoxFocalLoss",
    "OCR (CTC)": """CTCGreedyDecoder ContinuationIndicator CtcLoss DenseBlock
        LabelsequenceAccuracy Lstm Reverse Transpose WarpCTCLoss""",
    "FlowNet 2": """Correlation CustomData DataAugmentation Downsample FlowWarp L1Loss Resample""",
    "CRF-RNN": "MultiStageMeanfield",
    "OpenPose": "CPMData",
    "spatial transformers": "SpatialTransformer",
    "EAST": "DiceCoefLoss",
}
_FORK_OF = {name: fork for fork, names in _FORKS.items() for name in names.split()}

_LOAD = "--layers FILE, in Python caffepy.load_layers('FILE')"


def unknown_type(layer_type: str, registered: Iterable[str]) -> str:
    """What to say of a type that is not registered: where it is known from, and what to do."""
    own = f"Take the layer out, or load one of your own under this name ({_LOAD})."
    if not layer_type:
        return 'expected a `type`, got none. Write it, as in type: "Convolution".'
    if layer_type in _BVLC.split():
        return f"type '{layer_type}' is one of Caffe's, not implemented in this version. {own}"
    if layer_type in _FORK_OF:
        fork = _FORK_OF[layer_type]
        return f"type '{layer_type}' is known from the {fork} fork, not implemented. {own}"
    known = (*registered, *_BVLC.split(), *_FORK_OF)  # nearest first to what can be had
    remedy = did_you_mean(layer_type, registered) or did_you_mean(layer_type, known)
    remedy = remedy or (
        f" Use one of {', '.join(registered)}, or load the file that registers it: {_LOAD}."
    )
    return f"type '{layer_type}' does not exist.{remedy}"


def is_caffes(layer_type: str) -> bool:
    """Whether BVLC Caffe has a layer type of this name."""
    return layer_type in _BVLC.split()
