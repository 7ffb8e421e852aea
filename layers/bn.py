"""BN: batch normalisation with factor and bias, as two forks have it under one name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffepy.engine.channel_norm import ChannelNormLayer
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.dialect import Reading, meant
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Value
from caffepy.proto.caffe_pb2 import BNParameter, FillerParameter


@register_layer("BN")
class BNLayer(ChannelNormLayer):
    """y = s (x - mean) / sqrt(variance + eps) + b for each channel (axis 1).

    Two forks have a layer of this name; fields, tops and `param` blocks tell them apart, else
    `--dialect segnet` or `--dialect pspnet`.

    SegNet's: the statistics are those of the batch in both phases, with eps 1e-9. With bn_mode
    INFERENCE y = s x + b: s and b of the file have the statistics of the training set in them.
    PSPNet's: the statistics are those of the batch, of which running ones are kept; in phase TEST,
    or where frozen, the running ones.

    bottom[0]: (N, C, ...), or (N) as one channel   top[0]: the same shape, may be the bottom
    top[1], top[2]: (1, C, 1, 1) mean and variance of the batch, if wanted; SegNet's only; 0 with
    INFERENCE; their gradients are not passed on
    blobs[0]: (1, C, 1, 1) s   blobs[1]: (1, C, 1, 1) b
    blobs[2], blobs[3]: (1, C, 1, 1) running mean and variance, that of all m elements divided by m;
    PSPNet's only. Their lr_mult is 0, whatever is given
    bn_param: scale_filler (constant 0): SegNet's: fills s; shift_filler (constant 0): SegNet's:
    fills b; bn_mode (LEARN): SegNet's: LEARN or INFERENCE; slope_filler (constant 0): PSPNet's:
    fills s; bias_filler (constant 0): PSPNet's: fills b; momentum (0.9): PSPNet's: what a pass
    leaves of the running statistics, to which it adds 1 - momentum times its own; eps (1e-5):
    PSPNet's; frozen (false): PSPNet's: take the running statistics in phase TRAIN too, do not learn
    s and b, and let the running variance begin at 1, not 0; engine (DEFAULT): of no effect;
    moving_average (false), rebn (false), relax_iter (none), max_r (none), max_d (none): of other
    forks, refused

    A file's blobs may have the shape (1, C) or (C,) too, as those of PSPNet's relatives.

    Raises: NetError where nothing tells whose layer it is, a field is another fork's, or
    PSPNet's has more than one top; ShapeError where the number of channels changes, or there is
    nothing to take statistics of.
    Differs: in phase TEST the gradient of PSPNet's is that of the running statistics; the fork's is
    that of a batch. The variance is the mean of squared distances; SegNet takes the difference of
    two large numbers.
    Source: the forks alexgkendall/caffe-segnet, and hszhao/PSPNet and yjxiong/caffe; S. Ioffe and
    C. Szegedy, 2015; stock Caffe does not have it.

    Example: x (8, 16, 6, 6) -> y (8, 16, 6, 6)
        layer { name: "y" type: "BN" bottom: "x" top: "y"
          bn_param { slope_filler { value: 1 } bias_filler { value: 0 } momentum: 0.95 } }
    """

    tops = (1, 3)
    loose_blobs = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.bn_param
        self.refuse_fork_fields(param, (*_PSPNET, *_SEGNET), others=_OTHERS)
        self.running = self._keeps_running_statistics(top)
        self.frozen = self.running and param.frozen
        if self.running:
            self.of_batch = not (self.frozen or self.testing)
        else:
            self.of_batch = param.bn_mode == BNParameter.LEARN
        super().setup(bottom, top)
        shape = (1, self.channels, 1, 1)
        if not self.running:
            self.add_parameter(shape, param.scale_filler)
            self.add_parameter(shape, param.shift_filler)
            self.of_last = [Value(shape, self.ops.dtype) for _ in range(2)]  # mean, variance
        else:
            self.add_parameter(shape, param.slope_filler)
            self.add_parameter(shape, param.bias_filler)
            self.add_parameter(shape)
            self.add_parameter(shape, FillerParameter(type="constant", value=float(self.frozen)))
            self._fix_learning_rates()
        self.weight = Value((1,), self.ops.dtype)  # of the statistics
        self.weight.write()[...] = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        for blob in top[1:]:
            blob.reshape((1, self.channels, 1, 1))
        return True

    def make_op(self, x: Blob) -> Any:
        geometry, param = self.geometry(x), self.param.bn_param
        self.scale = self.ops.scale(geometry)
        self.copy = self.ops.sum()
        self.nothing = self.ops.fill(0)
        if not self.running:
            return self.ops.batch_norm(geometry, _SEGNET_EPS, 0, 1, False)
        momentum = param.momentum
        return self.ops.batch_norm(geometry, param.eps, momentum, 1 - momentum, False)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        y, x = top[0].data, bottom[0].data
        statistics = [blob.data for blob in self.blobs[2:]] if self.running else self.of_last
        if self.of_batch:
            self.op.forward_train(x, *statistics, self.weight, out=y)
            x = y
        elif self.running:
            self.op.forward_test(x, *statistics, self.weight, out=y)
            x = y
        for blob, statistic in zip(top[1:], statistics, strict=False):
            if self.of_batch:
                self.copy.forward([statistic], out=blob.data)
            else:
                self.nothing.forward(out=blob.data)
        self.scale.forward(x, self.blobs[0].data, self.blobs[1].data, out=y)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        normalises = self.of_batch or self.running
        add_s, add_b = self.learning_diff(0), self.learning_diff(1)
        if (add_s is not None or add_b is not None) and not self.frozen:
            scaled = top[0] if normalises else bottom[0]
            self.scale.backward_params(top[0].diff, scaled.data, add_s=add_s, add_b=add_b)
        if not propagate_down[0]:
            return
        gradient = bottom[0].diff
        self.scale.backward_data(top[0].diff, self.blobs[0].data, out=gradient)
        if self.of_batch:
            self.op.backward_train(gradient, bottom[0].data, out=gradient)
        elif self.running:
            self.op.backward_test(gradient, out=gradient)

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int] | None:
        return (0, place) if top_index == 0 else None

    def _keeps_running_statistics(self, top: Blobs) -> bool:
        """Whether it is PSPNet's layer, not SegNet's. Raises: NetError where that is not told."""
        given = {field.name for field, _ in self.param.bn_param.ListFields()}
        segnet = [name for name in _SEGNET if name in given]
        pspnet = [name for name in _PSPNET if name in given]
        if segnet and pspnet:
            self.error(
                "bn_param: expected the fields of SegNet's BN or those of PSPNet's, which are "
                f"different layers, got {', '.join(segnet)} of SegNet's and {', '.join(pspnet)} of "
                "PSPNet's. Remove those of one."
            )
        shown = "pspnet" if pspnet or (len(self.param.param) > 2 and not segnet) else ""
        if shown and len(top) > 1:
            self.error(
                f"expected 1 top blob, since this is PSPNet's BN, got {len(top)}. Remove the "
                "others, or give the fields of SegNet's, which has mean and variance as tops."
            )
        if segnet or len(top) > 1:
            shown = "segnet"
        related = _RELATED.get(self.context.dialect, "")
        return meant(self, _READINGS, shown or related) == "pspnet"

    def _fix_learning_rates(self) -> None:
        """Running statistics do not learn; nor do factor and bias where frozen."""
        specs = self.param.param
        while len(specs) < len(self.blobs):
            specs.add()
        for spec in specs[0 if self.frozen else 2 :]:
            spec.lr_mult = spec.decay_mult = 0


_SEGNET = ("scale_filler", "shift_filler", "bn_mode")
_PSPNET = ("slope_filler", "bias_filler", "momentum", "eps", "frozen")
_OTHERS = ("moving_average", "rebn", "relax_iter", "max_r", "max_d")
_SEGNET_EPS = 1e-9
_READINGS = {
    "segnet": Reading("statistics of the batch, 2 blobs", "`bn_param { bn_mode: LEARN }`"),
    "pspnet": Reading("running statistics, 4 blobs", "`bn_param { frozen: false }`"),
}
# Dialects whose BN is that of another.
_RELATED = {
    "face_alignment": "pspnet",
    "happynear": "pspnet",
    "ncnn": "segnet",
    "segnet_cudnn5": "segnet",
    "yjxiong": "pspnet",
}
