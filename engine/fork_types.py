"""Layer types of Caffe's forks, by the fork that each is best known from, and what to use instead
of those that we do not have. docs/forks.md lists them all."""

from __future__ import annotations

_PYTHON = "Write it as a layer of type Python"

_LABEL_IMAGES = (
    "Read images and label images with two ImageData layers that neither shuffle nor mirror, or "
    "with a data layer of type Python."
)

# By fork: the types, as names parted by blanks.
_TYPES = {
    "SSD": """AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute
        PriorBox VideoData""",
    "Fast R-CNN": "ROIPooling SmoothL1Loss",
    "R-FCN": "BoxAnnotatorOHEM PSROIPooling Proposal SmoothL1LossOHEM SoftmaxWithLossOHEM",
    "Cascade R-CNN": """BboxAccuracy BoxGroupOutput DecodeBBox DetectionData DetectionGroupAccuracy
        DetectionGroupLoss HardMining ProposalTarget""",
    "MobileNet": "ConvolutionDepthwise DepthwiseConvolution",
    "ShuffleNet": "ShuffleChannel",
    "SENet": "Axpy",
    "DeepLab and PSPNet": """BiasChannel DenseCRF DomainTransform ImageSegData Interp MatRead
        MatWrite SegAccuracy UniqueLabel""",
    "SegNet": "BN DenseImageData Upsample",
    "Face Alignment": "Local Unpooling",
    "MobileNet-YOLO": """Mish ReLU6 RegionLoss Reorg SegmentationEvaluate YoloDetectionOutput
        Yolov3 Yolov3DetectionOutput""",
    "waifu2x": "CropCenter",
    "face recognition": "CenterLoss MarginInnerProduct QuartetLoss TripletLoss",
    "FocalLoss": "FocalLoss MultiBoxFocalLoss",
    "domain adaptation": "SoftmaxCrossEntropyLoss",
    "OCR (CTC)": """CTCGreedyDecoder CTCLoss ContinuationIndicator CtcLoss DenseBlock
        LabelsequenceAccuracy Lstm Reverse Transpose WarpCTCLoss""",
    "FlowNet 2": """Correlation CustomData DataAugmentation Downsample FlowWarp L1Loss
        Resample""",
    "CRF-RNN": "MultiStageMeanfield",
    "OpenPose": "CPMData",
    "spatial transformers": "SpatialTransformer",
    "EAST": "DiceCoefLoss",
    "DeepDetect": "SELU",
    "N-dimensional": "Convolution3D Pooling3D PoolingND",
    "mask R-CNN": "ROIAlign",
    "Vitis-AI": "Tiling",
}

FORK_OF = {name: fork for fork, names in _TYPES.items() for name in names.split()}

# What does the same, or how to get it.
INSTEAD = {
    "BboxAccuracy": "Take it out: it only reports.",
    "BiasChannel": "Add a constant per channel with Bias; the image-level labels come as a bottom.",
    "BoxGroupOutput": f"{_PYTHON}, or use DetectionOutput on prior boxes.",
    "CPMData": "Store images and heat maps in HDF5 files, and read them with HDF5Data.",
    "CTCGreedyDecoder": "Use ArgMax with `axis`, and drop repeats and blanks in Python.",
    "CTCLoss": f"{_PYTHON}, whose gradient comes from a CTC package.",
    "ContinuationIndicator": (
        "Concat two DummyData tops along axis 0: a constant 0 of shape (1, N), a constant 1 of "
        "shape (T - 1, N)."
    ),
    "Convolution3D": "Use Convolution: it takes any number of spatial axes.",
    "Correlation": f"{_PYTHON}.",
    "CtcLoss": f"{_PYTHON}, whose gradient comes from a CTC package.",
    "CustomData": "Store the pairs and flows in HDF5 files, and read them with HDF5Data.",
    "DataAugmentation": "Augment when the data are stored, or in a data layer of type Python.",
    "DecodeBBox": f"{_PYTHON}.",
    "DenseBlock": "Write it out as BatchNorm, Scale, ReLU, Convolution and Concat.",
    "DenseCRF": "Take it out, and refine the scores after the net.",
    "DenseImageData": _LABEL_IMAGES,
    "DetectionData": "Convert the data with convert_annoset, and read them with AnnotatedData.",
    "DetectionGroupAccuracy": "Take it out: it only reports.",
    "DetectionGroupLoss": f"{_PYTHON}, or use MultiBoxLoss on prior boxes.",
    "DiceCoefLoss": f"{_PYTHON}, or build it from Eltwise (PROD), Reduction and Power.",
    "DomainTransform": "Take it out, and filter the scores after the net.",
    "Downsample": "Use Interp with `height` and `width`, or Pooling with AVE.",
    "FlowWarp": f"{_PYTHON}.",
    "HardMining": "Use BoxAnnotatorOHEM.",
    "ImageSegData": _LABEL_IMAGES,
    "L1Loss": (
        "Use Eltwise with coeff 1 and -1, AbsVal, and Reduction with its `loss_weight`; the weight "
        "holds the division."
    ),
    "LabelsequenceAccuracy": f"{_PYTHON}.",
    "Local": f"{_PYTHON}.",
    "Lstm": (
        "Use LSTM: a second bottom says where sequences begin, 0 at the first step and 1 after it. "
        "The weights have another form."
    ),
    "MarginInnerProduct": (
        "For a deploy net take it out, and read the features below it. To train, write it as a "
        "layer of type Python."
    ),
    "MatRead": "Store the arrays in HDF5 files, and read them with HDF5Data.",
    "MatWrite": "Use HDF5Output, or `caffepy extract_features` with npz.",
    "MultiStageMeanfield": f"{_PYTHON}, or take it out and refine the scores after the net.",
    "Pooling3D": "Use Pooling on two axes at a time, with Reshape between.",
    "PoolingND": "Use Pooling on two axes at a time, with Reshape between.",
    "Proposal": (
        'Use py-faster-rcnn\'s own: a layer of type Python with `module: "rpn.proposal_layer"`.'
    ),
    "ProposalTarget": (
        "Use py-faster-rcnn's own: a layer of type Python with "
        '`module: "rpn.proposal_target_layer"`.'
    ),
    "QuartetLoss": "Use TripletLoss, or write it as a layer of type Python.",
    "ROIAlign": f"{_PYTHON}, or use ROIPooling where its rounding does not matter.",
    "RegionLoss": f"{_PYTHON}. A deploy net does not need it.",
    "Resample": "Use Interp with `height` and `width`.",
    "Reverse": "Reverse the sequence in the data, or write it as a layer of type Python.",
    "SELU": "Use ELU with alpha 1.6733, and Power with scale 1.0507 behind it.",
    "SegAccuracy": "Use Accuracy with `ignore_label`: it counts per pixel.",
    "SegmentationEvaluate": "Take it out: it only reports.",
    "SpatialTransformer": f"{_PYTHON}.",
    "Tiling": "Use Reshape, Permute and Reshape: it lays channels out side by side.",
    "Transpose": "Use Permute: `transpose_param { dim }` is `permute_param { order }`.",
    "UniqueLabel": f"{_PYTHON}.",
    "Unpooling": "Use Upsample with the second top of the Pooling layer as its second bottom.",
    "VideoData": "Store the frames with convert_imageset or convert_annoset.",
    "WarpCTCLoss": f"{_PYTHON}, whose gradient comes from a CTC package.",
    "YoloDetectionOutput": "Take it out, and decode the boxes after the net.",
    "Yolov3": f"{_PYTHON}. A deploy net does not need it.",
    "Yolov3DetectionOutput": "Take it out, and decode the boxes after the net.",
}
