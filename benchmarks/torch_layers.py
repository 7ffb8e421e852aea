"""What each layer type computes, in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from caffepy.proto.caffe_pb2 import LayerParameter, PoolingParameter

Result = Tensor | tuple[Tensor, ...]
Equivalent = Callable[[LayerParameter, list[Tensor], list[Tensor]], Result]

EQUIVALENTS: dict[str, Equivalent] = {}


def equivalent(layer_type: str) -> Callable[[Equivalent], Equivalent]:
    """Registers a function of (layer, bottoms, parameters) that returns the tops."""

    def register(function: Equivalent) -> Equivalent:
        EQUIVALENTS[layer_type] = function
        return function

    return register


class TorchLayer:
    """A layer in eager PyTorch, with its gradients by autograd.

    diffs: of the tops.  learns: which bottoms get a gradient, as do all parameters that it uses.
    gradients: of these bottoms, then of the parameters; None for those that it does not use.
    """

    def __init__(
        self,
        param: LayerParameter,
        bottoms: Sequence[np.ndarray],
        parameters: Sequence[np.ndarray],
        diffs: Sequence[np.ndarray],
        learns: Sequence[bool],
    ) -> None:
        self.param = param
        self.function = EQUIVALENTS[param.type]
        self.bottoms = [
            torch.tensor(array, requires_grad=needed)
            for array, needed in zip(bottoms, learns, strict=True)
        ]
        self.parameters = [torch.tensor(array, requires_grad=True) for array in parameters]
        self.diffs = [torch.tensor(diff) for diff in diffs]
        self.tops: tuple[Tensor, ...] = ()
        self.gradients: tuple[Tensor | None, ...] = ()

    def forward(self) -> None:
        tops = self.function(self.param, self.bottoms, self.parameters)
        self.tops = tops if isinstance(tops, tuple) else (tops,)

    def backward(self) -> None:
        """After forward: fills `gradients`."""
        wanted = [bottom for bottom in self.bottoms if bottom.requires_grad]
        diffs = [diff.reshape(top.shape) for top, diff in zip(self.tops, self.diffs, strict=True)]
        self.gradients = torch.autograd.grad(
            self.tops, [*wanted, *self.parameters], diffs, retain_graph=True, allow_unused=True
        )


def _per_channel(parameter: Tensor) -> Tensor:
    return parameter.view(1, -1, 1, 1)


def _classes(label: Tensor) -> Tensor:
    return label.long()


EQUIVALENTS |= {
    "AbsVal": lambda param, x, w: x[0].abs(),
    "Axpy": lambda param, x, w: torch.addcmul(x[2], x[0].view(*x[0].shape, 1, 1), x[1]),
    "BNLL": lambda param, x, w: functional.softplus(x[0]),
    "BatchReindex": lambda param, x, w: x[0][x[1].long()],
    "Bias": lambda param, x, w: x[0] + _per_channel(w[0]),
    "Clip": lambda param, x, w: x[0].clamp(param.clip_param.min, param.clip_param.max),
    "Concat": lambda param, x, w: torch.cat(x, 1),
    "Dropout": lambda param, x, w: functional.dropout(x[0], param.dropout_param.dropout_ratio),
    "DummyData": lambda param, x, w: torch.randn(tuple(param.dummy_data_param.shape[0].dim)),
    "ELU": lambda param, x, w: functional.elu(x[0]),
    "EuclideanLoss": lambda param, x, w: (
        functional.mse_loss(x[0], x[1], reduction="sum") / (2 * len(x[0]))
    ),
    "Embed": lambda param, x, w: functional.embedding(x[0].long(), w[0]) + w[1],
    "Exp": lambda param, x, w: x[0].exp(),
    "Filter": lambda param, x, w: x[0][x[1] != 0],
    "Flatten": lambda param, x, w: x[0].flatten(1),
    "InnerProduct": lambda param, x, w: functional.linear(x[0], *w),
    "Log": lambda param, x, w: x[0].log(),
    "MVN": lambda param, x, w: functional.instance_norm(x[0], eps=1e-12),
    "Mish": lambda param, x, w: functional.mish(x[0]),
    "Normalize": lambda param, x, w: functional.normalize(x[0]) * _per_channel(w[0]),
    "PReLU": lambda param, x, w: functional.prelu(x[0], w[0]),
    "Permute": lambda param, x, w: x[0].permute(*param.permute_param.order).contiguous(),
    "ReLU6": lambda param, x, w: functional.relu6(x[0]),
    "Reshape": lambda param, x, w: x[0].reshape(len(x[0]), -1),
    "ShuffleChannel": lambda param, x, w: functional.channel_shuffle(
        x[0], param.shuffle_channel_param.group
    ),
    "Sigmoid": lambda param, x, w: x[0].sigmoid(),
    "Slice": lambda param, x, w: tuple(
        part.contiguous() for part in x[0].tensor_split([param.slice_param.slice_point[0]], 1)
    ),
    "SmoothL1Loss": lambda param, x, w: (
        functional.smooth_l1_loss(x[0], x[1], reduction="sum") / len(x[0])
    ),
    "SmoothL1LossOHEM": lambda param, x, w: (
        functional.smooth_l1_loss(x[0], x[1], reduction="sum") / len(x[0])
    ),
    "Softmax": lambda param, x, w: functional.softmax(x[0], 1),
    "Split": lambda param, x, w: (x[0].view_as(x[0]), x[0].view_as(x[0])),
    "Swish": lambda param, x, w: functional.silu(x[0]),
    "TanH": lambda param, x, w: x[0].tanh(),
    "Threshold": lambda param, x, w: (x[0] > param.threshold_param.threshold).float(),
    "Tile": lambda param, x, w: x[0].repeat(1, param.tile_param.tiles, 1, 1),
}


@equivalent("Accuracy")
def _accuracy(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    scores, label = x
    best = scores.argmax(1)
    return (best == label.view_as(best)).float().mean()


@equivalent("ArgMax")
def _argmax(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    return x[0].flatten(1).argmax(1).float()


@equivalent("BN")
def _bn(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    statistics = (statistic.detach().flatten() for statistic in w[2:])
    factor, bias = (parameter.flatten() for parameter in w[:2])
    return functional.batch_norm(x[0], *statistics, factor, bias, training=True, momentum=0.1)


@equivalent("BatchNorm")
def _batch_norm(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    statistics = w[0].detach(), w[1].detach()
    return functional.batch_norm(x[0], *statistics, training=True, momentum=0.001)


@equivalent("ContrastiveAccuracy")
def _contrastive_accuracy(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    near = (x[0] - x[1]).norm(dim=1) < param.contrastive_accuracy_param.margin
    return (near == (x[2] == 1)).float().mean()


@equivalent("ContrastiveLoss")
def _contrastive_loss(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    squared = (x[0] - x[1]).square().sum(1)
    gap = functional.relu(param.contrastive_loss_param.margin - squared.sqrt())
    return torch.where(x[2] != 0, squared, gap.square()).sum() / (2 * len(squared))


@equivalent("Convolution")
def _convolution(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    fields = param.convolution_param
    stride, pad, dilation = (
        given[0] if given else default
        for given, default in ((fields.stride, 1), (fields.pad, 0), (fields.dilation, 1))
    )
    return functional.conv2d(x[0], *w, stride, pad, dilation, fields.group)


@equivalent("ConvolutionDepthwise")
@equivalent("DepthwiseConvolution")
def _depthwise(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    fields = param.convolution_param
    return functional.conv2d(x[0], *w, 1, fields.pad[0], groups=len(w[0]))


@equivalent("Crop")
def _crop(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    start = param.crop_param.offset[0]
    height, width = x[1].shape[2:]
    return x[0][:, :, start : start + height, start : start + width].contiguous()


@equivalent("CropCenter")
def _crop_center(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    height, width = param.crop_center_param.crop_size[2:]
    return x[0][:, :, height:-height, width:-width].contiguous()


@equivalent("Deconvolution")
def _deconvolution(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    fields = param.convolution_param
    bias = w[1] if fields.bias_term else None
    pad = fields.pad[0] if fields.pad else 0
    return functional.conv_transpose2d(x[0], w[0], bias, fields.stride[0], pad, groups=fields.group)


@equivalent("Eltwise")
def _eltwise(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    combine = torch.mul, torch.add, torch.maximum  # PROD 0, SUM 1, MAX 2
    return combine[param.eltwise_param.operation](*x)


@equivalent("FocalLoss")
def _focal_loss(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    fields = param.focal_loss_param
    logs = functional.log_softmax(x[0].flatten(2), 1)
    chosen = logs.gather(1, _classes(x[1]).view(len(logs), 1, -1))
    return -(fields.alpha * (1 - chosen.exp()) ** fields.gamma * chosen).mean()


@equivalent("HingeLoss")
def _hinge_loss(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    scores, label = x
    signs = torch.ones_like(scores).scatter_(1, _classes(label)[:, None], -1)
    margins = functional.relu(1 + signs * scores)
    squared = param.hinge_loss_param.norm == param.hinge_loss_param.L2
    return (margins.square() if squared else margins).sum() / len(scores)


@equivalent("Im2col")
def _im2col(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    fields = param.convolution_param
    return functional.unfold(x[0], fields.kernel_size[0], padding=fields.pad[0])


@equivalent("InfogainLoss")
def _infogain_loss(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    scores, label, matrix = x
    return -(matrix[_classes(label)] * functional.log_softmax(scores, 1)).sum() / len(scores)


@equivalent("Interp")
def _interp(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    size = [1 + (side - 1) * param.interp_param.zoom_factor for side in x[0].shape[2:]]
    return functional.interpolate(x[0], size, mode="bilinear", align_corners=True)


@equivalent("LRN")
def _lrn(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    fields, size = param.lrn_param, param.lrn_param.local_size
    if fields.norm_region == fields.ACROSS_CHANNELS:
        return functional.local_response_norm(x[0], size, fields.alpha, fields.beta, fields.k)
    mean = functional.avg_pool2d(x[0].square(), size, 1, size // 2)
    return x[0] * (1 + fields.alpha * mean).pow(-fields.beta)


@equivalent("LSTM")
def _lstm(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    """Its gates come in another order, and it has a second bias; all marks but the first are 1."""
    size = param.recurrent_param.num_output
    inputs, bias, hidden = (
        parameter.view(4, size, -1)[[0, 1, 3, 2]].reshape(parameter.shape) for parameter in w
    )
    start = x[0].new_zeros(1, x[0].shape[1], size)
    weights = [inputs, hidden, bias, torch.zeros_like(bias)]
    options = True, 1, 0.0, True, False, False  # biases, layers, dropout, train, two ways, batch
    return torch.lstm(x[0], (start, start), weights, *options)[0]


@equivalent("LSTMUnit")
def _lstm_unit(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    cell, gates, goes_on = x
    put, forget, output = gates[..., : 3 * cell.shape[2]].sigmoid().chunk(3, 2)
    new = gates[..., 3 * cell.shape[2] :].tanh()
    after = goes_on[..., None] * forget * cell + put * new
    return after, output * after.tanh()


@equivalent("MultinomialLogisticLoss")
def _logistic_loss(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    return -x[0].gather(1, _classes(x[1])[:, None]).log().mean()


@equivalent("Pooling")
def _pooling(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    fields = param.pooling_param
    if fields.global_pooling:
        return functional.adaptive_avg_pool2d(x[0], 1)
    kernel, stride = fields.kernel_size, fields.stride
    if fields.pool == PoolingParameter.MAX:
        return functional.max_pool2d(x[0], kernel, stride, ceil_mode=True)
    if fields.pool == PoolingParameter.AVE:
        return functional.avg_pool2d(x[0], kernel, stride, ceil_mode=True)
    windows = x[0].unfold(2, kernel, stride).unfold(3, kernel, stride)
    flat = windows.reshape(-1, kernel * kernel)
    chosen = torch.multinomial(flat.detach(), 1)
    return flat.gather(1, chosen).view(windows.shape[:4])


@equivalent("Power")
def _power(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    fields = param.power_param
    return (fields.shift + fields.scale * x[0]).pow(fields.power)


@equivalent("RNN")
def _rnn(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    inputs, bias, hidden, outputs, output_bias = w
    start = x[0].new_zeros(1, x[0].shape[1], param.recurrent_param.num_output)
    weights = [inputs, hidden, bias, torch.zeros_like(bias)]
    states = torch.rnn_tanh(x[0], start, weights, True, 1, 0.0, True, False, False)[0]
    return functional.linear(states, outputs, output_bias).tanh()


@equivalent("ReLU")
def _relu(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    slope = param.relu_param.negative_slope
    return functional.leaky_relu(x[0], slope) if slope else functional.relu(x[0])


@equivalent("Reduction")
def _reduction(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    fields, flat = param.reduction_param, x[0].flatten(param.reduction_param.axis)
    if fields.operation == fields.MEAN:
        return flat.mean(-1)
    if fields.operation == fields.ASUM:
        flat = flat.abs()
    elif fields.operation == fields.SUMSQ:
        flat = flat.square()
    return flat.sum(-1)


@equivalent("Reorg")
def _reorg(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    (samples, channels, height, width), side = x[0].shape, param.reorg_param.stride
    parts = x[0].view(samples, channels // side**2, height, side, width, side)
    shape = samples, channels * side**2, height // side, width // side
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(shape)


@equivalent("SPP")
def _spp(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    """For images whose sides the windows divide."""
    levels = [x[0].shape[2] // 2**level for level in range(param.spp_param.pyramid_height)]
    return torch.cat([functional.max_pool2d(x[0], size).flatten(1) for size in levels], 1)


@equivalent("Scale")
def _scale(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    if len(x) == 2:
        return x[0] * x[1]
    return torch.addcmul(_per_channel(w[1]), x[0], _per_channel(w[0]))


@equivalent("Upsample")
def _upsample(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    scale = int(param.upsample_param.scale)
    if len(x) == 1:
        return functional.interpolate(x[0], scale_factor=scale)
    return functional.max_unpool2d(x[0], x[1].long(), scale)


@equivalent("SigmoidCrossEntropyLoss")
def _sigmoid_loss(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    loss = functional.binary_cross_entropy_with_logits(*x, reduction="sum")
    return loss / len(x[0])


@equivalent("SoftmaxCrossEntropyLoss")
def _soft_target_loss(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    return functional.kl_div(functional.log_softmax(x[0], 1), x[1], reduction="batchmean")


@equivalent("SoftmaxWithLossOHEM")
@equivalent("SoftmaxWithLoss")
def _softmax_loss(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    scores, label = x
    shape = len(scores), math.prod(scores.shape[2:])
    return (
        functional.cross_entropy(scores.flatten(2), _classes(label).view(shape))
        if (scores.dim() > 2)
        else functional.cross_entropy(scores, _classes(label))
    )


@equivalent("TripletLoss")
def _triplet_loss(param: LayerParameter, x: list[Tensor], w: list[Tensor]) -> Result:
    near, far = ((x[0] - other).square().sum(1) for other in x[1:])
    costs = functional.relu(param.triplet_loss_param.margin + near - far)
    return costs.sum() / (2 * len(costs))
