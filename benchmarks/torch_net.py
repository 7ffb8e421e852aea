"""The same nets in PyTorch, made of its own modules as its users write them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from caffepy.proto.caffe_pb2 import TRAIN, LayerParameter, NetParameter

Parameters = Mapping[str, Sequence[np.ndarray]]


class TorchNet(nn.Module):
    """A net in PyTorch; `forward(blobs)` takes the data layer's tops by name and returns the
    weighted sum of the losses.

    parameters: the learnable blobs of each layer by its name, which are copied.

    BatchNorm and the Scale after it are one module, as in PyTorch's own nets. What is in place in
    Caffe is so here too where autograd allows it: ReLU; and a tensor that no later layer reads is
    let go of.
    """

    def __init__(self, param: NetParameter, parameters: Parameters) -> None:
        super().__init__()
        self._shared: dict[str, nn.Parameter] = {}
        self.groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        calls: list[_Call] = []
        norm: tuple[LayerParameter, nn.BatchNorm2d] | None = None
        for layer in param.layer[1:]:
            blobs = parameters.get(layer.name, ())
            if layer.type == "Scale" and norm is not None and norm[0].top[0] == layer.bottom[0]:
                self._take(layer, norm[1], blobs)
                norm = None
                continue
            module = _MODULES[layer.type](layer, blobs)
            if isinstance(module, nn.BatchNorm2d):
                norm = layer, module
            elif isinstance(module, nn.Module):
                self._take(layer, module, blobs)
            if isinstance(module, nn.Module):
                self.add_module(layer.name.replace(".", "_"), module)
            weight = (layer.loss_weight or [1.0])[0] if layer.type.endswith("Loss") else 0.0
            calls.append(_Call(module, tuple(layer.bottom), tuple(layer.top), weight))
        self._calls = list(_without_leftovers(calls))

    def forward(self, blobs: Mapping[str, Tensor]) -> Tensor:
        tensors = dict(blobs)
        total: Tensor | None = None
        for call in self._calls:
            found = call.run(*[tensors[name] for name in call.bottoms])
            if call.loss_weight:
                weighted = found if call.loss_weight == 1 else found * call.loss_weight
                total = weighted if total is None else total + weighted
            elif len(call.tops) == 1:
                tensors[call.tops[0]] = found
            else:
                tensors.update(zip(call.tops, found, strict=True))
            for name in call.done:
                del tensors[name]
        assert total is not None, "every net has a loss"
        return total

    def _take(self, layer: LayerParameter, module: nn.Module, blobs: Sequence[np.ndarray]) -> None:
        """Gives the module the numbers of `blobs`, and puts each parameter into the group of its
        lr_mult and decay_mult; one that an earlier layer has under the same name becomes that."""
        for index, (name, array) in enumerate(zip(("weight", "bias"), blobs, strict=False)):
            spec = layer.param[index] if index < len(layer.param) else None
            if spec is not None and spec.name in self._shared:
                setattr(module, name, self._shared[spec.name])
                continue
            parameter = nn.Parameter(torch.from_numpy(array.copy()))
            setattr(module, name, parameter)
            rates = (spec.lr_mult, spec.decay_mult) if spec is not None else (1.0, 1.0)
            self.groups.setdefault(rates, []).append(parameter)
            if spec is not None and spec.name:
                self._shared[spec.name] = parameter


@dataclass
class _Call:
    """A module and the tensors it goes between. done: names that nothing after it reads."""

    run: Callable[..., Any]
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    loss_weight: float
    done: tuple[str, ...] = ()


def _without_leftovers(calls: Sequence[_Call]) -> Iterable[_Call]:
    for place, call in enumerate(calls):
        later = {name for after in calls[place + 1 :] for name in after.bottoms}
        tops = () if call.loss_weight else call.tops
        call.done = tuple({*call.bottoms, *tops} - later)
        yield call


class TorchStep:
    """Calling it does a training step in eager PyTorch: forward, backward, fused SGD; in phase TEST
    a forward pass.

    batch: the data layer's tops, which stay on `device`.  parameters: as TorchNet takes them.
    half: what autocast computes in, with a loss scale for float16.  loss: of the last call.
    """

    def __init__(
        self,
        param: NetParameter,
        batch: Sequence[np.ndarray],
        parameters: Parameters,
        *,
        phase: int,
        memory_format: torch.memory_format,
        rates: Mapping[str, float],
        device: str = "cpu",
        half: torch.dtype | None = None,
    ) -> None:
        data, label = (torch.from_numpy(array).to(device) for array in batch)
        names = param.layer[0].top
        self._blobs = {
            names[0]: data.contiguous(memory_format=memory_format),
            names[1]: label if param.layer[-1].type == "ContrastiveLoss" else label.long(),
        }
        self.model = TorchNet(param, parameters).to(device, memory_format=memory_format)
        self.model.train(phase == TRAIN)
        self.loss = torch.zeros(())
        self._autocast = (
            contextlib.nullcontext
            if half is None
            else functools.partial(torch.autocast, data.device.type, dtype=half)
        )
        scales = half == torch.float16
        self._scaler = torch.amp.GradScaler(data.device.type) if scales else None
        self._run = self._train if phase == TRAIN else self._test
        groups = [
            {
                "params": members,
                "lr": rates["base_lr"] * lr_mult,
                "weight_decay": rates["weight_decay"] * decay_mult,
            }
            for (lr_mult, decay_mult), members in self.model.groups.items()
        ]
        self._optimizer = torch.optim.SGD(groups, momentum=rates["momentum"], fused=True)

    def __call__(self) -> None:
        self._run()

    def _train(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            self.loss = self.model(self._blobs)
        if self._scaler is None:
            self.loss.backward()
            self._optimizer.step()
        else:
            self._scaler.scale(self.loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()

    def _test(self) -> None:
        with torch.inference_mode(), self._autocast():
            self.loss = self.model(self._blobs)


_Make = Callable[[LayerParameter, Sequence[np.ndarray]], Callable[..., Any]]


def _convolution(layer: LayerParameter, blobs: Sequence[np.ndarray]) -> nn.Module:
    fields, outputs = layer.convolution_param, blobs[0].shape[0]
    stride, pad = (given[0] if given else None for given in (fields.stride, fields.pad))
    return nn.Conv2d(
        blobs[0].shape[1] * fields.group, outputs, fields.kernel_size[0], stride or 1, pad or 0,
        groups=fields.group, bias=fields.bias_term,
    )  # fmt: skip


def _inner_product(layer: LayerParameter, blobs: Sequence[np.ndarray]) -> nn.Module:
    outputs, inputs = blobs[0].shape
    return _Linear(inputs, outputs)


class _Linear(nn.Linear):
    """With the axes after the first as one."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(1))


def _pooling(layer: LayerParameter, blobs: Sequence[np.ndarray]) -> nn.Module:
    fields = layer.pooling_param
    if fields.global_pooling:
        return nn.AdaptiveAvgPool2d(1)
    kind = nn.MaxPool2d if fields.pool == fields.MAX else nn.AvgPool2d
    return kind(fields.kernel_size, fields.stride, fields.pad, ceil_mode=True)


def _lrn(layer: LayerParameter, blobs: Sequence[np.ndarray]) -> nn.Module:
    fields = layer.lrn_param
    return nn.LocalResponseNorm(fields.local_size, fields.alpha, fields.beta, fields.k)


def _batch_norm(layer: LayerParameter, blobs: Sequence[np.ndarray]) -> nn.Module:
    fields = layer.batch_norm_param
    return nn.BatchNorm2d(len(blobs[0]), fields.eps, 1 - fields.moving_average_fraction)


def _softmax_loss(scores: Tensor, label: Tensor) -> Tensor:
    return functional.cross_entropy(scores.flatten(1), label)


def _contrastive_loss(layer: LayerParameter, blobs: Sequence[np.ndarray]) -> Callable[..., Tensor]:
    margin = layer.contrastive_loss_param.margin

    def run(x: Tensor, y: Tensor, similar: Tensor) -> Tensor:
        squared = (x - y).square().sum(1)
        gap = functional.relu(margin - squared.sqrt())
        return torch.where(similar != 0, squared, gap.square()).sum() / (2 * len(squared))

    return run


def _concat(*tensors: Tensor) -> Tensor:
    return torch.cat(tensors, 1)


_MODULES: dict[str, _Make] = {
    "BatchNorm": _batch_norm,
    "Concat": lambda layer, blobs: _concat,
    "ContrastiveLoss": _contrastive_loss,
    "Convolution": _convolution,
    "Dropout": lambda layer, blobs: nn.Dropout(layer.dropout_param.dropout_ratio),
    "Eltwise": lambda layer, blobs: torch.add,
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "Pooling": _pooling,
    "ReLU": lambda layer, blobs: nn.ReLU(inplace=True),
    "Slice": lambda layer, blobs: lambda x: x.split(1, 1),
    "SoftmaxWithLoss": lambda layer, blobs: _softmax_loss,
}
