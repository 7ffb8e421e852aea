"""OneDnnOps: NumpyOps with oneDNN's primitives where they are faster."""

from __future__ import annotations

import weakref
from typing import Any, ClassVar

import numpy as np
import threadpoolctl

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.base import op
from caffepy.engine.ops.numpy.absolute import Absolute
from caffepy.engine.ops.numpy.activation import Power, Relu, Sigmoid, TanH
from caffepy.engine.ops.numpy.adaptive_update import (
    AdaDeltaUpdate,
    AdaGradUpdate,
    AdamUpdate,
    RmsPropUpdate,
)
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.numpy.batch_norm import BatchNorm
from caffepy.engine.ops.numpy.bias import Bias
from caffepy.engine.ops.numpy.concat import Concat
from caffepy.engine.ops.numpy.convolution import Convolution
from caffepy.engine.ops.numpy.dropout import Dropout
from caffepy.engine.ops.numpy.eltwise import EltwiseMax, EltwiseProduct, EltwiseSum
from caffepy.engine.ops.numpy.exponential import Bnll, Elu, Exp, Log, Mish, Swish
from caffepy.engine.ops.numpy.inner_product import InnerProduct
from caffepy.engine.ops.numpy.lrn import Lrn
from caffepy.engine.ops.numpy.pooling import Pooling
from caffepy.engine.ops.numpy.prelu import PRelu
from caffepy.engine.ops.numpy.scale import Scale
from caffepy.engine.ops.numpy.sums import Sum
from caffepy.engine.ops.numpy.threshold import Clip, Relu6
from caffepy.engine.ops.numpy.transpose import Transpose
from caffepy.engine.ops.numpy.update import LarsUpdate, NesterovUpdate, SgdUpdate
from caffepy.engine.ops.onednn.activation import OneDnnRelu
from caffepy.engine.ops.onednn.adaptive_update import (
    OneDnnAdaDelta,
    OneDnnAdaGrad,
    OneDnnAdam,
    OneDnnRmsProp,
)
from caffepy.engine.ops.onednn.batch_norm import OneDnnBatchNorm
from caffepy.engine.ops.onednn.bias import OneDnnBias
from caffepy.engine.ops.onednn.concat import OneDnnConcat
from caffepy.engine.ops.onednn.convolution import OneDnnConvolution
from caffepy.engine.ops.onednn.dropout import OneDnnDropout
from caffepy.engine.ops.onednn.elementwise import (
    FlatBnll,
    FlatClip,
    FlatExp,
    FlatLog,
    FlatRelu,
    FlatRelu6,
    OneDnnAbsolute,
    OneDnnElu,
    OneDnnMish,
    OneDnnPower,
    OneDnnSigmoid,
    OneDnnSwish,
    OneDnnTanH,
)
from caffepy.engine.ops.onednn.eltwise import (
    OneDnnEltwiseMax,
    OneDnnEltwiseProduct,
    OneDnnEltwiseSum,
)
from caffepy.engine.ops.onednn.execution import Scratchpad
from caffepy.engine.ops.onednn.inner_product import OneDnnInnerProduct
from caffepy.engine.ops.onednn.library import library
from caffepy.engine.ops.onednn.lrn import OneDnnLrn
from caffepy.engine.ops.onednn.pooling import OneDnnPooling
from caffepy.engine.ops.onednn.prelu import OneDnnPRelu
from caffepy.engine.ops.onednn.scale import OneDnnScale
from caffepy.engine.ops.onednn.self_test import usable
from caffepy.engine.ops.onednn.sums import OneDnnSum
from caffepy.engine.ops.onednn.transpose import OneDnnTranspose
from caffepy.engine.ops.onednn.update import OneDnnLars, OneDnnNesterov, OneDnnSgd


class OneDnnOps(NumpyOps):
    """float32 on the CPU: oneDNN for what it supports, numpy for the rest, on the same values.

    threads: that primitives use, when called from the thread that made this object; all cores by
    default. numpy's matrix products run on one thread while such an object lives, since the waiting
    threads of two pools would take each other's cores.

    Raises: DeviceError where the library is missing or fails its test, or for another dtype.
    """

    name: ClassVar[str] = "onednn"

    def __init__(self, dtype: Any = np.float32, threads: int | None = None) -> None:
        super().__init__(dtype, threads)
        if self.dtype != np.float32:
            raise DeviceError(
                f"engine 'onednn': expected dtype float32, got {self.dtype}. "
                "Use the numpy engine for other types."
            )
        reason = usable()
        if reason is not None:
            raise DeviceError(reason)
        self.library = library()
        if threads is not None:
            self.library.set_threads(threads)
        self.scratchpad = Scratchpad()
        _BlasLimit.take()
        weakref.finalize(self, _BlasLimit.give_back)

    def let_go(self) -> None:
        for execution in self.scratchpad.users:
            execution.release()

    # Classes of another family than those of NumpyOps, with the same methods.
    convolution = op(OneDnnConvolution, Convolution)  # type: ignore[assignment]
    inner_product = op(OneDnnInnerProduct, InnerProduct)  # type: ignore[assignment]
    pooling = op(OneDnnPooling, Pooling)  # type: ignore[assignment]
    relu = op(OneDnnRelu, FlatRelu, Relu)  # type: ignore[assignment]
    prelu = op(OneDnnPRelu, PRelu)  # type: ignore[assignment]
    tanh = op(OneDnnTanH, TanH)  # type: ignore[assignment]
    sigmoid = op(OneDnnSigmoid, Sigmoid)  # type: ignore[assignment]
    swish = op(OneDnnSwish, Swish)
    elu = op(OneDnnElu, Elu)
    absolute = op(OneDnnAbsolute, Absolute)
    power = op(OneDnnPower, Power)
    bnll = op(FlatBnll, Bnll)
    mish = op(OneDnnMish, Mish)
    relu6 = op(FlatRelu6, Relu6)
    exp = op(FlatExp, Exp)
    log = op(FlatLog, Log)
    clip = op(FlatClip, Clip)
    dropout = op(OneDnnDropout, Dropout)  # type: ignore[assignment]
    sum = op(OneDnnSum, Sum)  # type: ignore[assignment]
    eltwise_sum = op(OneDnnEltwiseSum, EltwiseSum)  # type: ignore[assignment]
    eltwise_product = op(OneDnnEltwiseProduct, EltwiseProduct)  # type: ignore[assignment]
    eltwise_max = op(OneDnnEltwiseMax, EltwiseMax)  # type: ignore[assignment]
    concat = op(OneDnnConcat, Concat)  # type: ignore[assignment]
    lrn = op(OneDnnLrn, Lrn)  # type: ignore[assignment]
    batch_norm = op(OneDnnBatchNorm, BatchNorm)  # type: ignore[assignment]
    scale = op(OneDnnScale, Scale)  # type: ignore[assignment]
    bias = op(OneDnnBias, Bias)  # type: ignore[assignment]
    transpose = op(OneDnnTranspose, Transpose)  # type: ignore[assignment]
    sgd_update = op(OneDnnSgd, SgdUpdate)
    nesterov_update = op(OneDnnNesterov, NesterovUpdate)
    adagrad_update = op(OneDnnAdaGrad, AdaGradUpdate)
    rmsprop_update = op(OneDnnRmsProp, RmsPropUpdate)
    adadelta_update = op(OneDnnAdaDelta, AdaDeltaUpdate)
    adam_update = op(OneDnnAdam, AdamUpdate)
    lars_update = op(OneDnnLars, LarsUpdate)


class _BlasLimit:
    """Holds numpy's matrix products to one thread while anybody needs it."""

    holders: ClassVar[int] = 0
    limit: ClassVar[threadpoolctl.threadpool_limits | None] = None

    @classmethod
    def take(cls) -> None:
        cls.holders += 1
        if cls.limit is None:
            cls.limit = threadpoolctl.threadpool_limits(limits=1, user_api="blas")

    @classmethod
    def give_back(cls) -> None:
        cls.holders -= 1
        if not cls.holders and cls.limit is not None:
            cls.limit.restore_original_limits()
            cls.limit = None
