"""Nets of other people without their data: which of them build and run, and why the others do not.

`python -m tests.integration.test_wild_nets FOLDER` prints the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from caffepy.proto.caffe_pb2 import TEST, TRAIN, Phase
from caffepy.proto.errors import CaffepyError
from tests.conftest import onednn_ops
from tests.nets import make_net
from tests.wild import Shapeless, Shapes, fill_inputs, follow_advice, without_data

BUILDS, NO_DATA = "builds", "no data in this phase"
FIELDS = (
    "176x88",
    "88x176",
    "128x128",
    "352x176",
    "176x352",
    "256x256",
    "704x352",
    "352x704",
    "512x512",
)
SQUARE = {"data": (2, 3, 227, 227)}

# What the data of these were, which the prototxt does not say.
SHAPES: dict[str, Shapes] = {
    "fork-train/DlutMedimgGroup__MouseCTSegmentation__train": {
        "data": (1, 1, 16, 16, 16),
        "label": (1, 1, 16, 16, 16),
    },
    "fork-train/SURFZJY__EAST-caffe__train": {
        "data": (1, 3, 128, 128),
        "score_map": (1, 1, 32, 32),
        "geo_map": (1, 5, 32, 32),
    },
    "fork-train/amena6490__Joint-Verification-Identification__train_val": {
        f"data{index}": SQUARE["data"] for index in range(1, 5)
    },
    "fork-train/hsmyy__CenterLoss_Caffe_Mnist__train_center_loss": {"data": (2, 1, 28, 28)},
    "fork-train/senlinuc__caffe_ocr__densenet-res-blstm_train-val": {
        "data": (2, 3, 32, 280),
        "label": (2, 10),
    },
    "fork-train/senlinuc__caffe_ocr__densenet-sum-blstm-full-res-blstm_train-val": {
        "data": (2, 3, 32, 280),
        "label": (2, 10),
    },
    "fork-train/wy1iu__sphereface__sphereface_model": {"data": (2, 3, 112, 96)},
    "fork-train/yalecyu__crnn.caffe__crnn": {"data": (523, 3, 32, 128), "label": (523, 6)},
    "fork-train/zhaoweicai__cascade-rcnn__2_train": {
        "data": (1, 3, 512, 512),
        "gt_boxes": (1, 6, 1, 1),
        **{f"label_{index}_{size}": (1, 6, 1, 1) for index, size in enumerate(FIELDS, 1)},
    },
    "plain-train/1093842024__caffe-heatmaps-landmarks-train__train_3stage": {
        "data": (2, 3, 48, 48),
        "heatmaps": (2, 5, 12, 12),
    },
    "plain-train/CongWeilin__mtcnn-caffe__train12": {
        "data": (2, 3, 12, 12),
        "label": (2,),
        "roi": (2, 4),
        "pts": (2, 10),
    },
    "plain-train/Decri__Multi-Scale-and-Depth-CNN-for-Pan-sharpening__DRPNN_net": {
        "data": (2, 5, 32, 32),
        "label": (2, 4, 32, 32),
    },
    "plain-train/DhavalKapil__digit-recognition__neural_network": {
        "data": (1, 1, 28, 28),
        "label": (1,),
    },
    "plain-train/Evanc123__science_bowl__fcn": {"data": (2, 1, 28, 28)},
    "plain-train/JACKYLUO1991__Modified-U-Net-using-Caffeframework__val": {
        "data": (1, 3, 48, 48),
        "label": (1, 1, 48, 48),
    },
    "plain-train/JinglongDu__DCED__DCED": {"data": (2, 1, 40, 40), "label": (2, 1, 40, 40)},
    "plain-train/Kuldeep-Attri__digit_classifier__train_test": {
        "data": (1, 784),
        "label": (1, 10),
    },
    "plain-train/Nishanksingla__Caffe-Speaker-Recognition__SpeakerRecognition_net": SQUARE,
    "plain-train/Romathonat__CNNFaceRecognition__facenet_train_test": {
        "data": (2, 1, 36, 36),
        "label": (2,),
    },
    "plain-train/ZXHSunSalt__driver_detect__train": SQUARE,
    "plain-train/alexgkendall__caffe-segnet__train_val": {"data": (2, 4), "label": (2,)},
    "plain-train/anguyen8__caffe-facialkp__train_val": {"data": (2, 1, 96, 96), "label": (2, 30)},
}


# Why the others do not build. All that are not named here do.
REFUSED = {
    "fork-deploy/eric612__MobileNet-YOLO__mobilenet_yolov3_test": (
        "type 'Yolov3DetectionOutput' is known from the MobileNet-YOLO fork, not implemented."
    ),
    "fork-deploy/torrvision__crfasrnn__TVG_CRFRNN_new_deploy": (
        "type 'MultiStageMeanfield' is known from the CRF-RNN fork, not implemented."
    ),
    "fork-train/DlutMedimgGroup__MouseCTSegmentation__train": (
        "type 'PoolingND' is known from the N-dimensional fork, not implemented."
    ),
    "fork-train/SURFZJY__EAST-caffe__train": "expected a module 'pylayerUtils', got none",
    "fork-train/TimoSaemann__ENet__enet_train_encoder_decoder": (
        "expected a module 'spatial_dropout', got none"
    ),
    "fork-train/YifeiAI__DeepLogCORAL__train": (
        "loss_weight: expected a number, got 'include'. The value of loss_weight seems to be"
    ),
    "fork-train/amena6490__Joint-Verification-Identification__train_val": (
        "type 'QuartetLoss' is known from the face recognition fork, not implemented."
    ),
    "fork-train/hsmyy__CenterLoss_Caffe_Mnist__train_center_loss": (
        "(CenterLoss): loss_weight: expected it to be left out or at its default"
    ),
    "fork-train/kevinlin311tw__caffe-augmentation__train_val": (
        "type 'K1_EuclideanLoss' does not exist."
    ),
    "fork-train/senlinuc__caffe_ocr__densenet-res-blstm_train-val": (
        "type 'DenseBlock' is known from the OCR (CTC) fork, not implemented."
    ),
    "fork-train/senlinuc__caffe_ocr__densenet-sum-blstm-full-res-blstm_train-val": (
        "type 'DenseBlock' is known from the OCR (CTC) fork, not implemented."
    ),
    "fork-train/soeaver__caffe-model__psp_se-resnet50-hik-merge": (
        "type 'SegAccuracy' is known from the DeepLab and PSPNet fork, not implemented."
    ),
    "fork-train/wy1iu__sphereface__sphereface_model": (
        "type 'MarginInnerProduct' is known from the face recognition fork, not implemented."
    ),
    "fork-train/yalecyu__crnn.caffe__crnn": (
        "type 'ContinuationIndicator' is known from the OCR (CTC) fork, not implemented."
    ),
    "fork-train/zhaoweicai__cascade-rcnn__2_train": (
        "type 'DetectionGroupLoss' is known from the Cascade R-CNN fork, not implemented."
    ),
    "plain-train/CSshengxy__DAN-Caffe__valnet": "expected a module 'InitLandmark', got none",
    "plain-train/CongWeilin__mtcnn-caffe__train12": "expected a module 'pythonLayer', got none",
    "plain-train/Decri__Multi-Scale-and-Depth-CNN-for-Pan-sharpening__DRPNN_net": (
        "bottom 'data1' is made by no layer before this one. Did you mean 'data'?"
    ),
    "plain-train/DeeperCS__CaffePythonLayerLoss__euclid": "expected a module 'pyloss', got none",
}
# Those of them that build without what docs/forks.md says to take out, or with what it says to put
# there.
ADVISED = {
    "fork-deploy/eric612__MobileNet-YOLO__mobilenet_yolov3_test",
    "fork-deploy/torrvision__crfasrnn__TVG_CRFRNN_new_deploy",
    "fork-train/SURFZJY__EAST-caffe__train",
    "fork-train/TimoSaemann__ENet__enet_train_encoder_decoder",
    "fork-train/amena6490__Joint-Verification-Identification__train_val",
    "fork-train/kevinlin311tw__caffe-augmentation__train_val",
    "fork-train/soeaver__caffe-model__psp_se-resnet50-hik-merge",
    "fork-train/wy1iu__sphereface__sphereface_model",
    "fork-train/yalecyu__crnn.caffe__crnn",
    "plain-train/CSshengxy__DAN-Caffe__valnet",
    "plain-train/CongWeilin__mtcnn-caffe__train12",
    "plain-train/DeeperCS__CaffePythonLayerLoss__euclid",
}
# Too large to run here in a few seconds.
LARGE = {
    "fork-deploy/soeaver__caffe-model__rcnn_deploy_faster_voc_resnet38a-merge",
    "fork-train/soeaver__caffe-model__psp_se-resnet50-hik-merge",
    "fork-train/yalecyu__crnn.caffe__crnn",
}
# Refused in phase TRAIN alone.
IN_TRAINING = {"fork-train/amena6490__Joint-Verification-Identification__train_val"}


@pytest.mark.parametrize("folder", ["fork-deploy", "fork-train", "plain-deploy", "plain-train"])
@pytest.mark.slow
def test_wild_nets_build_and_run_or_say_why_not(shared: Path, folder: str) -> None:
    paths = sorted((shared / "wildprototxt" / folder).glob("*.prototxt"))
    assert paths
    for path in paths:
        name = f"{folder}/{path.stem}"
        found = {phase: outcome(path, phase, run=True) for phase in (TRAIN, TEST)}
        assert {*found.values()} != {NO_DATA}, name
        for phase, told in found.items():
            if name in REFUSED and told != NO_DATA and (phase == TRAIN or name not in IN_TRAINING):
                assert REFUSED[name] in told
                if name in ADVISED:
                    assert outcome(path, phase, run=True, advised=True) == BUILDS, name
            else:
                assert told in (BUILDS, NO_DATA), name


def outcome(path: Path, phase: int, run: bool = False, advised: bool = False) -> str:
    """BUILDS, NO_DATA, or why the net is refused, without the place.

    run: one pass too.  advised: without layers that are not ours, or with others for them.
    """
    name = f"{path.parent.name}/{path.stem}"
    try:
        param = without_data(path, phase, SHAPES.get(name))
        if param is None:
            return NO_DATA
        if advised:
            follow_advice(param)
        net = make_net(param, onednn_ops(), phase=phase, folders=(path.parent,))
        if run and name not in LARGE:
            fill_inputs(net)
            net.forward()
            for output in net.outputs:
                values = net.blobs[output].data.read()  # inf: boxes of random weights may be huge
                assert not np.isnan(values).any(), output
        net.close()
    except (CaffepyError, Shapeless) as error:
        return str(error).removeprefix(str(path))
    return BUILDS


def main(folder: Path) -> None:
    for path in sorted(folder.glob("*-*/*.prototxt")):
        for phase in (TRAIN, TEST):
            told = outcome(path, phase, run=True)
            if told not in (BUILDS, NO_DATA):
                told += f"\n    as docs/forks.md advises: {outcome(path, phase, True, True)}"
            print(f"{path.parent.name}/{path.stem} {Phase.Name(phase)}: {told}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
