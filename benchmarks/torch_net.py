"""The same nets in PyTorch, built from their prototxt."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from caffepy.proto import text
from caffepy.proto.caffe_pb2 import LayerParameter, NetParameter, PoolingParameter


class TorchStep:
    """One training step of a net in eager PyTorch: forward, backward, fused SGD."""

    def __init__(self, prototxt: str, memory_format: torch.memory_format, threads: int) -> None:
        torch.set_num_threads(threads)
        net = text.parse(prototxt, NetParameter)
        shape, labels = net.layer[0].dummy_data_param.shape
        self.data = torch.full(tuple(shape.dim), 0.5).contiguous(memory_format=memory_format)
        label = net.layer[0].dummy_data_param.data_filler[1].value
        self.label = torch.full(tuple(labels.dim), int(label))
        self.model = nn.Sequential(*self._modules(net.layer[1:-1], tuple(shape.dim)))
        self.model = self.model.to(memory_format=memory_format)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True
        )

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(self.model(self.data), self.label).backward()
        self.optimizer.step()

    @staticmethod
    def _modules(layers: list[LayerParameter], shape: tuple[int, ...]) -> list[nn.Module]:
        """The layers of a chain; `shape` is followed by running each on zeros."""
        modules: list[nn.Module] = []
        found = torch.zeros(shape)
        for layer in layers:
            if layer.type == "Convolution":
                conv = layer.convolution_param
                pad = conv.pad[0] if conv.pad else 0
                module: nn.Module = nn.Conv2d(
                    found.shape[1], conv.num_output, conv.kernel_size[0], padding=pad
                )
            elif layer.type == "Pooling":
                pool = layer.pooling_param
                kind = nn.MaxPool2d if pool.pool == PoolingParameter.MAX else nn.AvgPool2d
                module = kind(pool.kernel_size, pool.stride, ceil_mode=True)
            elif layer.type == "InnerProduct":
                outputs = layer.inner_product_param.num_output
                module = nn.Sequential(nn.Flatten(), nn.Linear(found.flatten(1).shape[1], outputs))
            elif layer.type == "ReLU":
                module = nn.ReLU(inplace=True)
            else:
                raise ValueError(f"no PyTorch equivalent for {layer.type}")
            with torch.no_grad():
                found = module(found)
            modules.append(module)
        return modules
