"""The outputs of a net as log lines show them, and their means over the batches of a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import ShapeError
from caffepy.engine.core.value import Value
from caffepy.engine.net import Net


@dataclass(frozen=True)
class Output:
    """One number among a net's outputs.

    index: its place among all numbers.  name: the blob.  loss_weight: 0 where it is no loss.
    """

    index: int
    name: str
    value: float
    loss_weight: float = 0.0

    @property
    def weighted(self) -> float:
        """What it contributes to the net's loss."""
        return float(np.float32(self.loss_weight) * np.float32(self.value))

    def __str__(self) -> str:
        line = f"#{self.index}: {self.name} = {self.value:g}"
        if self.loss_weight:
            line += f" (* {self.loss_weight:g} = {self.weighted:g} loss)"
        return line


def outputs(net: Net) -> list[Output]:
    """All numbers in the output blobs of a net, as the last forward pass left them."""
    return _listed(net, [net.blobs[name].data for name in net.outputs], 1)


class Scores:
    """Sums up the outputs of a test net over batches, on the device."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._sum = net.ops.sum()
        self._totals: list[Value] = []
        self._loss = Value((), net.ops.dtype)
        self._batches = 0

    def add(self) -> None:
        """Adds the outputs of the forward pass that has just run.

        Raises: ShapeError where an output has another shape than in the first batch.
        """
        found = [self._net.blobs[name].data for name in self._net.outputs]
        if not self._batches:
            self._totals = [Value(value.shape, value.dtype) for value in found]
        for name, total, value in zip(self._net.outputs, self._totals, found, strict=True):
            if value.shape != total.shape:
                raise ShapeError(
                    f"test net '{self._net.name}': output '{name}': expected shape {total.shape} "
                    f"in every batch of a test, got {value.shape} in batch {self._batches}. Put a "
                    "Silence layer on it, or give all batches one shape; detections are tested "
                    'with the solver\'s eval_type: "detection".'
                )
            self._accumulate(total, value)
        self._accumulate(self._loss, self._net.loss)
        self._batches += 1

    def means(self) -> list[Output]:
        """Every output, averaged over the batches."""
        return _listed(self._net, self._totals, self._batches)

    def mean_loss(self) -> float:
        """The weighted loss, averaged over the batches."""
        return float(self._loss.read()) / max(self._batches, 1)

    def log(self, means: Sequence[Output]) -> None:
        """Logs what `means` gave."""
        for output in means:
            log.info(f"    Test net output {output}")

    def _accumulate(self, total: Value, value: Value) -> None:
        self._sum.forward([total, value] if self._batches else [value], out=total)


def _listed(net: Net, values: list[Value], divisor: int) -> list[Output]:
    listed: list[Output] = []
    weights = net.loss_weights
    for name, value in zip(net.outputs, values):
        weight = weights.get(name, 0.0)
        for number in value.read().reshape(-1) / value.dtype.type(divisor):
            listed.append(Output(len(listed), name, float(number), weight))
    return listed
