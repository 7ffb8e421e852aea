"""CudaOps: every op on an NVIDIA GPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from caffepy.engine.core.backend import Device
from caffepy.engine.core.layout import Layout
from caffepy.engine.core.random import Counter
from caffepy.engine.core.record import Recorder
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops, op
from caffepy.engine.ops.cuda.absolute import CudaAbsolute
from caffepy.engine.ops.cuda.accuracy import CudaAccuracy, CudaContrastiveAccuracy
from caffepy.engine.ops.cuda.activation import CudaPower, CudaRelu, CudaSigmoid, CudaTanH
from caffepy.engine.ops.cuda.adaptive_update import (
    CudaAdaDelta,
    CudaAdaGrad,
    CudaAdam,
    CudaRmsProp,
)
from caffepy.engine.ops.cuda.batch_norm import CudaBatchNorm
from caffepy.engine.ops.cuda.bias import CudaBias
from caffepy.engine.ops.cuda.box_losses import CudaBoxClassLoss, CudaBoxLocationLoss
from caffepy.engine.ops.cuda.box_matching import CudaMatchBoxes
from caffepy.engine.ops.cuda.box_mining import CudaMineBoxes
from caffepy.engine.ops.cuda.center_loss import CudaCenterLoss
from caffepy.engine.ops.cuda.class_loss import CudaHingeLoss, CudaLogisticLoss
from caffepy.engine.ops.cuda.columns import CudaIm2col
from caffepy.engine.ops.cuda.concat import CudaConcat
from caffepy.engine.ops.cuda.convolution import CudaConvolution
from caffepy.engine.ops.cuda.cudnn_convolution import CudnnConvolution
from caffepy.engine.ops.cuda.depthwise import CudaDepthwise
from caffepy.engine.ops.cuda.detection import CudaDetectionOutput
from caffepy.engine.ops.cuda.dropout import CudaDropout
from caffepy.engine.ops.cuda.eltwise import CudaEltwiseMax, CudaEltwiseProduct, CudaEltwiseSum
from caffepy.engine.ops.cuda.exponential import (
    CudaBnll,
    CudaElu,
    CudaExp,
    CudaLog,
    CudaMish,
    CudaSwish,
)
from caffepy.engine.ops.cuda.focal_loss import CudaFocalLoss
from caffepy.engine.ops.cuda.hard_regions import CudaHardRegions
from caffepy.engine.ops.cuda.inner_product import CudaInnerProduct
from caffepy.engine.ops.cuda.interp import CudaInterp
from caffepy.engine.ops.cuda.loss import CudaContrastiveLoss, CudaEuclideanLoss, CudaTripletLoss
from caffepy.engine.ops.cuda.loss_scale import CudaLossScale
from caffepy.engine.ops.cuda.lrn import CudaLrn
from caffepy.engine.ops.cuda.mvn import CudaMvn
from caffepy.engine.ops.cuda.op import LiveCount
from caffepy.engine.ops.cuda.ordering import CudaArgMax
from caffepy.engine.ops.cuda.passes import CudaPassWatch
from caffepy.engine.ops.cuda.pieces import CudaCrop, CudaTile
from caffepy.engine.ops.cuda.plan_choice import PlanChoice
from caffepy.engine.ops.cuda.pooling import CudaPooling, CudaStochasticPooling
from caffepy.engine.ops.cuda.port import CudaRuntime, Graph, Product
from caffepy.engine.ops.cuda.prelu import CudaPRelu
from caffepy.engine.ops.cuda.prior_boxes import CudaPriorBoxes
from caffepy.engine.ops.cuda.products import Products, Reliance
from caffepy.engine.ops.cuda.recurrent import CudaLstm, CudaLstmUnit, CudaRnn
from caffepy.engine.ops.cuda.reduction import CudaReduction
from caffepy.engine.ops.cuda.regions import CudaPsRoiPooling, CudaRoiPooling
from caffepy.engine.ops.cuda.rows import CudaEmbed, CudaTakeRows
from caffepy.engine.ops.cuda.scale import CudaScale
from caffepy.engine.ops.cuda.sigmoid_loss import CudaSigmoidLoss
from caffepy.engine.ops.cuda.smooth_l1 import CudaSmoothL1Loss
from caffepy.engine.ops.cuda.softmax import CudaSoftmax
from caffepy.engine.ops.cuda.softmax_loss import (
    CudaInfogainLoss,
    CudaSoftmaxLoss,
    CudaSoftTargetLoss,
)
from caffepy.engine.ops.cuda.sources import source
from caffepy.engine.ops.cuda.sums import CudaFill, CudaSum, CudaWeightedSum
from caffepy.engine.ops.cuda.threshold import CudaClip, CudaRelu6, CudaThreshold
from caffepy.engine.ops.cuda.transform import CudaTransform
from caffepy.engine.ops.cuda.transpose import CudaTranspose
from caffepy.engine.ops.cuda.unit_length import CudaUnitLength
from caffepy.engine.ops.cuda.update import CudaLars, CudaNesterov, CudaSgd, CudaSumOfSquares
from caffepy.engine.ops.cuda.upsample import CudaUnpool, CudaUpsample
from caffepy.engine.ops.cuda.watch import Watch
from caffepy.engine.ops.cuda.workspace import Workspace
from caffepy.engine.ops.kernels import Kernels

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")


class CudaOps(Ops):
    """Every op in the memory of one GPU, by kernels of our own and by NVIDIA's libraries.

    dtype: float32 or float64.  precision: of products, one of PRECISIONS; those of float64 are
    exact.  deterministic: whether sums of many threads have one order where that is slower.
    keep_data: whether data sets that fit stay on the GPU.
    """

    name: ClassVar[str] = "cuda"
    late: ClassVar[bool] = True

    def __init__(
        self,
        runtime: CudaRuntime,
        dtype: Any = np.float32,
        precision: str = "tf32",
        deterministic: bool = False,
        keep_data: bool = False,
    ) -> None:
        assert precision in PRECISIONS, precision
        self.runtime: CudaRuntime = runtime
        self.device: Device | None = runtime
        self.keeps_data = keep_data
        self.layout: Layout = runtime.layout
        self.dtype = np.dtype(dtype)
        self.precision = "fp32" if self.dtype == np.float64 else precision
        self.scales_loss = self.precision == "fp16"
        self.deterministic = deterministic
        self.recorder: Recorder | None = None
        self.watch = Watch(self)
        self.workspace = Workspace(self.dtype)
        self.products = Products(self)
        self.plans = PlanChoice(runtime, self.dtype, deterministic)
        self._kernels: dict[str, Kernels] = {}
        self._numbers: weakref.WeakKeyDictionary[Counter, LiveCount] = weakref.WeakKeyDictionary()
        self._actions: list[Callable[[], None]] | None = None  # of the run that is being captured

    @property
    def scratch_bytes(self) -> int:
        """What ops that were built write and read again on the GPU, in turn."""
        return self.workspace.reserved_bytes

    def check(self) -> None:
        """Waits for the device, and raises what kernels reported since the last look."""
        self.watch.check()

    def let_go(self) -> None:
        """Ops hold on to no memory of values."""

    # ---- what ops use

    def kernels(self, family: str) -> Kernels:
        """The kernels of `kernels/<family>.cu`."""
        if family not in self._kernels:
            self._kernels[family] = Kernels(self, source(family), f"{family}.cu")
        return self._kernels[family]

    def multiply(self, product: Product, a: Value, b: Value, out: Value) -> None:
        """A matrix product in the backend's precision, written or added to `out`; see Products."""
        self.products.multiply(product, a, b, out)

    def each_run(self, action: Callable[[], None]) -> None:
        """Calls `action` now; of steps that become a graph, before each launch of it."""
        if self._actions is None:
            action()
        else:
            self._actions.append(action)

    def number(self, counter: Counter) -> LiveCount:
        """The value of a counter, for kernels to read."""
        if counter not in self._numbers:
            self._numbers[counter] = LiveCount(self, counter)
        return self._numbers[counter]

    # ---- graphs

    def capture(self, run: Callable[[], None], alone: bool = False) -> Replay:
        """Calls `run`, which only calls steps; none of their work is done, but by each call of what
        this gives. Raises: DeviceError where that is not possible.

        alone: it shall need nothing that steps before it leave besides values.
        """
        actions = self._actions = []
        try:
            with self.products.captured(alone) as reliance:
                graph = self.runtime.capture(run)
        finally:
            self._actions = None
        return Replay(actions, graph, reliance)

    relu = op(CudaRelu)
    batch_norm = op(CudaBatchNorm)
    mvn = op(CudaMvn)
    unit_length = op(CudaUnitLength)
    reduction = op(CudaReduction)
    argmax = op(CudaArgMax)
    concat = op(CudaConcat)
    take_rows = op(CudaTakeRows)
    detection_output = op(CudaDetectionOutput)
    embed = op(CudaEmbed)
    tile = op(CudaTile)
    crop = op(CudaCrop)
    upsample = op(CudaUpsample)
    unpool = op(CudaUnpool)
    interp = op(CudaInterp)
    transpose = op(CudaTranspose)
    sigmoid = op(CudaSigmoid)
    tanh = op(CudaTanH)
    power = op(CudaPower)
    transform = op(CudaTransform)
    prelu = op(CudaPRelu)
    dropout = op(CudaDropout)
    scale = op(CudaScale)
    sum = op(CudaSum)
    fill = op(CudaFill)
    prior_boxes = op(CudaPriorBoxes)
    weighted_sum = op(CudaWeightedSum)
    absolute = op(CudaAbsolute)
    bias = op(CudaBias)
    eltwise_sum = op(CudaEltwiseSum)
    eltwise_product = op(CudaEltwiseProduct)
    eltwise_max = op(CudaEltwiseMax)
    bnll = op(CudaBnll)
    elu = op(CudaElu)
    swish = op(CudaSwish)
    mish = op(CudaMish)
    relu6 = op(CudaRelu6)
    exp = op(CudaExp)
    log = op(CudaLog)
    clip = op(CudaClip)
    threshold = op(CudaThreshold)
    sgd_update = op(CudaSgd)
    nesterov_update = op(CudaNesterov)
    adagrad_update = op(CudaAdaGrad)
    rmsprop_update = op(CudaRmsProp)
    adadelta_update = op(CudaAdaDelta)
    adam_update = op(CudaAdam)
    lars_update = op(CudaLars)
    sum_of_squares = op(CudaSumOfSquares)
    softmax = op(CudaSoftmax)
    softmax_loss = op(CudaSoftmaxLoss)
    infogain_loss = op(CudaInfogainLoss)
    focal_loss = op(CudaFocalLoss)
    soft_target_loss = op(CudaSoftTargetLoss)
    sigmoid_loss = op(CudaSigmoidLoss)
    euclidean_loss = op(CudaEuclideanLoss)
    contrastive_loss = op(CudaContrastiveLoss)
    triplet_loss = op(CudaTripletLoss)
    center_loss = op(CudaCenterLoss)
    smooth_l1_loss = op(CudaSmoothL1Loss)
    hinge_loss = op(CudaHingeLoss)
    logistic_loss = op(CudaLogisticLoss)
    accuracy = op(CudaAccuracy)
    contrastive_accuracy = op(CudaContrastiveAccuracy)
    match_boxes = op(CudaMatchBoxes)
    mine_boxes = op(CudaMineBoxes)
    box_location_loss = op(CudaBoxLocationLoss)
    box_class_loss = op(CudaBoxClassLoss)
    lstm_unit = op(CudaLstmUnit)
    lstm = op(CudaLstm)
    rnn = op(CudaRnn)
    convolution = op(CudaDepthwise, CudnnConvolution, CudaConvolution)
    im2col = op(CudaIm2col)
    pooling = op(CudaPooling)
    stochastic_pooling = op(CudaStochasticPooling)
    roi_pooling = op(CudaRoiPooling)
    psroi_pooling = op(CudaPsRoiPooling)
    hard_regions = op(CudaHardRegions)
    lrn = op(CudaLrn)
    inner_product = op(CudaInnerProduct)
    pass_watch = op(CudaPassWatch)
    loss_scale = op(CudaLossScale)


class Replay:
    """A graph, and what the host does before and after each launch of it."""

    def __init__(self, actions: list[Callable[[], None]], graph: Graph, reliance: Reliance) -> None:
        self._actions = list(dict.fromkeys(actions))
        self._graph = graph
        self._reliance = reliance

    @property
    def is_valid(self) -> bool:
        """Whether what it needs besides values is as it was in the capture."""
        return self._reliance.holds

    def __call__(self) -> None:
        """To be called when the versions of values are those after it."""
        for action in self._actions:
            action()
        self._graph.launch()
        self._reliance.confirm()
