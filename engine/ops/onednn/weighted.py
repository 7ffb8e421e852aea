"""WeightedOp: what convolution and inner product on oneDNN have in common."""

from __future__ import annotations

from abc import abstractmethod

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Prospect
from caffepy.engine.ops.onednn.binding import Descriptor, Primitive
from caffepy.engine.ops.onednn.fused import FusedForward, Kind, Variant
from caffepy.engine.ops.onednn.passes import (
    DataPass,
    ForwardPass,
    NumpyData,
    NumpyParameters,
    ParametersPass,
)
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.post_ops import PostOps


class WeightedOp(Op):
    """An op with weights and perhaps a bias, whose passes are one primitive each, or numpy's where
    that is faster.

    Primitives are made at the first call of a pass, forward and parameter passes once with and once
    without bias. The order in which products are added up is the library's: it depends on shapes,
    processor and number of threads, and is the same in every run.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, weights: tuple[int, ...]) -> None:
        super().__init__(ops)
        self.weights = weights
        self.variants: dict[Kind, Variant | None] = {}
        self._described: dict[bool, Primitive] = {}
        self._forward: dict[bool, ForwardPass] = {}
        self._data: DataPass | NumpyData | None = None
        self._parameters: dict[bool, ParametersPass | NumpyParameters] = {}

    @step(reads="x w b", writes="out")
    def forward(self, x: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: y."""
        bias = b is not None
        if bias not in self._forward:
            self._forward[bias] = ForwardPass(
                self.forward_primitive(bias), self.ops.scratchpad, self.plain_weights(), bias
            )
        self._forward[bias].run(x, w, b, out)

    @step(reads="dy w", writes="out")
    def backward_data(self, dy: Value, w: Value, *, out: Value) -> None:
        """out: gradient of x."""
        if self._data is None:
            self._data = self.data_pass()
        self._data.run(dy, w, out)

    @step(reads="dy x", adds="add_w add_b")
    def backward_params(
        self, dy: Value, x: Value, *, add_w: Value | None = None, add_b: Value | None = None
    ) -> None:
        """Adds the gradients of the parameters."""
        bias = add_b is not None
        if bias not in self._parameters:
            self._parameters[bias] = self.parameters_pass(bias)
        self._parameters[bias].run(dy, x, (add_w, add_b) if bias else (add_w,))

    def merged(self, step: Step, after: Step) -> Step | None:
        """A ReLU in place of y goes into the primitive."""
        return FusedForward(self, step).merged(step, after) if step.method == "forward" else None

    def folded(self, step: Step, after: Step, prospect: Prospect) -> Step | None:
        """So do normalisations and scales in place of y, and sums."""
        if step.method != "forward":
            return None
        return FusedForward(self, step).folded(step, after, prospect)

    def data_pass(self) -> DataPass | NumpyData:
        """What `backward_data` runs."""
        primitive = self.describe_data(self.forward_primitive(False))
        return DataPass(primitive, self.ops.scratchpad, self.plain_weights())

    def parameters_pass(self, bias: bool) -> ParametersPass | NumpyParameters:
        """What `backward_params` runs."""
        primitive = self.describe_parameters(self.forward_primitive(bias), bias)
        return ParametersPass(primitive, self.ops.scratchpad, self.plain_weights(), bias)

    def plain_weights(self) -> Descriptor:
        """The weights' plain memory along the axes that the primitives see."""
        return Descriptor.plain(self.weights)

    @abstractmethod
    def describe_forward(self, bias: bool, after: PostOps | None = None) -> Primitive:
        """The forward primitive.  after: what it does with its results."""

    @abstractmethod
    def describe_data(self, forward: Primitive) -> Primitive:
        """The primitive of `backward_data`."""

    @abstractmethod
    def describe_parameters(self, forward: Primitive, bias: bool) -> Primitive:
        """The primitive of `backward_params`."""

    def forward_primitive(self, bias: bool) -> Primitive:
        """Made once: backward primitives are derived from it."""
        if bias not in self._described:
            self._described[bias] = self.describe_forward(bias)
        return self._described[bias]
