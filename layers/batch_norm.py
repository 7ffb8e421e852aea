"""BatchNorm: normalises each channel by the statistics of the batch, or by stored ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffepy.engine.channel_norm import ChannelNormLayer
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.proto.caffe_pb2 import FillerParameter


@register_layer("BatchNorm")
class BatchNormLayer(ChannelNormLayer):
    """y = (x - mean) / sqrt(variance + eps) for each channel (axis 1).

    The statistics are those of the batch, which are then added to the stored ones; or, in phase
    TEST unless use_global_stats says otherwise, the stored ones: blobs[0] / blobs[2] and
    blobs[1] / blobs[2], 0 where blobs[2] is 0. Factor and bias, where wanted, are a Scale layer's.

    bottom[0]: (N, C, ...), or (N) as one channel   top[0]: the same shape, may be the bottom
    blobs[0]: (C,) sum of means   blobs[1]: (C,) sum of variances, each times m / (m - 1) for m
    elements per channel   blobs[2]: (1,) sum of their weights; all fade by moving_average_fraction
    per pass. Their lr_mult is 0.
    batch_norm_param: use_global_stats (true in phase TEST): take the stored statistics;
    moving_average_fraction (0.999): what a pass leaves of the stored ones; eps (1e-5)

    Raises: NetError where a `param` block gives an lr_mult other than 0; ShapeError where the
    number of channels changes, or there is nothing to take statistics of.
    Source: Caffe's layer catalogue, BatchNorm; S. Ioffe and C. Szegedy, 2015.

    Example: x (8, 16, 6, 6) -> y (8, 16, 6, 6)
        layer { name: "y" type: "BatchNorm" bottom: "x" top: "y" }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.batch_norm_param
        self.refuse_fork_fields(param, _HARMLESS)
        self.global_stats = (
            param.use_global_stats if param.HasField("use_global_stats") else self.testing
        )
        self.of_batch = not self.global_stats
        super().setup(bottom, top)
        for shape in ((self.channels,), (self.channels,), (1,)):
            self.add_parameter(shape, FillerParameter(type="constant", value=0))
        self._fix_learning_rates()

    def make_op(self, x: Blob) -> Any:
        param = self.param.batch_norm_param
        geometry = self.geometry(x)
        return self.ops.batch_norm(geometry, param.eps, param.moving_average_fraction)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        run = self.op.forward_test if self.global_stats else self.op.forward_train
        run(bottom[0].data, *(blob.data for blob in self.blobs), out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        if self.global_stats:
            self.op.backward_test(top[0].diff, out=bottom[0].diff)
        else:
            self.op.backward_train(top[0].diff, bottom[0].data, out=bottom[0].diff)

    def _fix_learning_rates(self) -> None:
        """The statistics do not learn: lr_mult 0 for each, refusing any other."""
        specs = self.param.param
        for index in range(len(self.blobs)):
            if index == len(specs):
                specs.add(lr_mult=0)
            elif specs[index].lr_mult != 0:
                self.error(
                    f"param {index}: expected lr_mult 0, since the statistics of batch "
                    f"normalisation are not learnt, got {specs[index].lr_mult:g}. Write "
                    "`param { lr_mult: 0 }` three times, or no `param` at all."
                )


# Fields of forks that choose how it is computed, not what.
_HARMLESS = ("engine",)
