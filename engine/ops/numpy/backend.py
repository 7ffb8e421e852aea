"""NumpyOps: the backend that has every op, in float32 and float64; the reference for all others."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from caffepy.engine.core.backend import Device, Runtime
from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.record import Recorder
from caffepy.engine.ops.base import Ops, op
from caffepy.engine.ops.numpy.absolute import Absolute
from caffepy.engine.ops.numpy.accuracy import Accuracy, ContrastiveAccuracy
from caffepy.engine.ops.numpy.activation import Power, Relu, Sigmoid, TanH
from caffepy.engine.ops.numpy.adaptive_update import (
    AdaDeltaUpdate,
    AdaGradUpdate,
    AdamUpdate,
    RmsPropUpdate,
)
from caffepy.engine.ops.numpy.arrays import Scratch
from caffepy.engine.ops.numpy.batch_norm import BatchNorm
from caffepy.engine.ops.numpy.bias import Bias
from caffepy.engine.ops.numpy.box_losses import BoxClassLoss, BoxLocationLoss
from caffepy.engine.ops.numpy.box_matching import MatchBoxes
from caffepy.engine.ops.numpy.box_mining import MineBoxes
from caffepy.engine.ops.numpy.center_loss import CenterLoss
from caffepy.engine.ops.numpy.class_loss import HingeLoss, LogisticLoss
from caffepy.engine.ops.numpy.columns import Im2col
from caffepy.engine.ops.numpy.concat import Concat
from caffepy.engine.ops.numpy.convolution import Convolution
from caffepy.engine.ops.numpy.detection import DetectionOutput
from caffepy.engine.ops.numpy.dropout import Dropout
from caffepy.engine.ops.numpy.eltwise import EltwiseMax, EltwiseProduct, EltwiseSum
from caffepy.engine.ops.numpy.exponential import Bnll, Elu, Exp, Log, Mish, Swish
from caffepy.engine.ops.numpy.focal_loss import FocalLoss
from caffepy.engine.ops.numpy.hard_regions import HardRegions
from caffepy.engine.ops.numpy.inner_product import InnerProduct
from caffepy.engine.ops.numpy.interp import Interp
from caffepy.engine.ops.numpy.loss import ContrastiveLoss, EuclideanLoss, TripletLoss
from caffepy.engine.ops.numpy.lrn import Lrn
from caffepy.engine.ops.numpy.mvn import Mvn
from caffepy.engine.ops.numpy.ordering import ArgMax
from caffepy.engine.ops.numpy.pieces import Crop, Tile
from caffepy.engine.ops.numpy.pooling import Pooling, StochasticPooling
from caffepy.engine.ops.numpy.prelu import PRelu
from caffepy.engine.ops.numpy.prior_boxes import PriorBoxes
from caffepy.engine.ops.numpy.recurrent import Lstm, LstmUnit, Rnn
from caffepy.engine.ops.numpy.reduction import Reduction
from caffepy.engine.ops.numpy.regions import PsRoiPooling, RoiPooling
from caffepy.engine.ops.numpy.rows import Embed, TakeRows
from caffepy.engine.ops.numpy.scale import Scale
from caffepy.engine.ops.numpy.sigmoid_loss import SigmoidLoss
from caffepy.engine.ops.numpy.smooth_l1 import SmoothL1Loss
from caffepy.engine.ops.numpy.softmax import Softmax
from caffepy.engine.ops.numpy.softmax_loss import InfogainLoss, SoftmaxLoss, SoftTargetLoss
from caffepy.engine.ops.numpy.sums import Fill, Sum, WeightedSum
from caffepy.engine.ops.numpy.threshold import Clip, Relu6, Threshold
from caffepy.engine.ops.numpy.transform import Transform
from caffepy.engine.ops.numpy.transpose import Transpose
from caffepy.engine.ops.numpy.unit_length import UnitLength
from caffepy.engine.ops.numpy.update import LarsUpdate, NesterovUpdate, SgdUpdate, SumOfSquares
from caffepy.engine.ops.numpy.upsample import Unpool, Upsample
from caffepy.engine.ops.numpy.workers import Workers


class NumpyOps(Ops):
    """Every op on host memory, through numpy.

    dtype: float32 or float64.  threads: that elementwise work on many elements takes; all cores by
    default. Matrix products have the threads of numpy's own library.
    """

    name: ClassVar[str] = "numpy"
    late: ClassVar[bool] = False
    scales_loss = False
    layout: Layout = PLAIN
    scratch_bytes: ClassVar[int] = 0  # there is no device

    def __init__(self, dtype: Any = np.float32, threads: int | None = None) -> None:
        self.dtype = np.dtype(dtype)
        self.workers = Workers(threads)
        self.recorder: Recorder | None = None
        self.runtime: Runtime | None = None
        self.device: Device | None = None
        self.keeps_data = False
        self.scratch = Scratch()

    def check(self) -> None:
        """Nothing is wrong: ops raise at once."""

    def let_go(self) -> None:
        """Forgets the arrays that ops hold on to since their last call, before values move."""

    convolution = op(Convolution)
    pooling = op(Pooling)
    stochastic_pooling = op(StochasticPooling)
    roi_pooling = op(RoiPooling)
    psroi_pooling = op(PsRoiPooling)
    hard_regions = op(HardRegions)
    inner_product = op(InnerProduct)
    relu = op(Relu)
    prelu = op(PRelu)
    sigmoid = op(Sigmoid)
    tanh = op(TanH)
    power = op(Power)
    dropout = op(Dropout)
    lrn = op(Lrn)
    batch_norm = op(BatchNorm)
    scale = op(Scale)
    sum = op(Sum)
    fill = op(Fill)
    prior_boxes = op(PriorBoxes)
    weighted_sum = op(WeightedSum)
    concat = op(Concat)
    softmax = op(Softmax)
    softmax_loss = op(SoftmaxLoss)
    sigmoid_loss = op(SigmoidLoss)
    euclidean_loss = op(EuclideanLoss)
    contrastive_loss = op(ContrastiveLoss)
    triplet_loss = op(TripletLoss)
    center_loss = op(CenterLoss)
    smooth_l1_loss = op(SmoothL1Loss)
    accuracy = op(Accuracy)
    contrastive_accuracy = op(ContrastiveAccuracy)
    sgd_update = op(SgdUpdate)
    nesterov_update = op(NesterovUpdate)
    adagrad_update = op(AdaGradUpdate)
    rmsprop_update = op(RmsPropUpdate)
    adadelta_update = op(AdaDeltaUpdate)
    adam_update = op(AdamUpdate)
    lars_update = op(LarsUpdate)
    sum_of_squares = op(SumOfSquares)
    absolute = op(Absolute)
    bias = op(Bias)
    eltwise_sum = op(EltwiseSum)
    eltwise_product = op(EltwiseProduct)
    eltwise_max = op(EltwiseMax)
    argmax = op(ArgMax)
    take_rows = op(TakeRows)
    detection_output = op(DetectionOutput)
    embed = op(Embed)
    bnll = op(Bnll)
    elu = op(Elu)
    swish = op(Swish)
    mish = op(Mish)
    relu6 = op(Relu6)
    exp = op(Exp)
    log = op(Log)
    clip = op(Clip)
    threshold = op(Threshold)
    mvn = op(Mvn)
    unit_length = op(UnitLength)
    reduction = op(Reduction)
    tile = op(Tile)
    crop = op(Crop)
    upsample = op(Upsample)
    unpool = op(Unpool)
    interp = op(Interp)
    transpose = op(Transpose)
    im2col = op(Im2col)
    hinge_loss = op(HingeLoss)
    logistic_loss = op(LogisticLoss)
    infogain_loss = op(InfogainLoss)
    focal_loss = op(FocalLoss)
    soft_target_loss = op(SoftTargetLoss)
    match_boxes = op(MatchBoxes)
    mine_boxes = op(MineBoxes)
    box_location_loss = op(BoxLocationLoss)
    box_class_loss = op(BoxClassLoss)
    lstm_unit = op(LstmUnit)
    lstm = op(Lstm)
    rnn = op(Rnn)
    transform = op(Transform)
