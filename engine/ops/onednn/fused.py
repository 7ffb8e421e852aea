"""A product with weights and the layers behind it as one primitive of oneDNN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.core.record import Step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Prospect
from caffepy.engine.ops.onednn.activation import OneDnnRelu
from caffepy.engine.ops.onednn.batch_norm import OneDnnBatchNorm
from caffepy.engine.ops.onednn.bias import OneDnnBias
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Primitive, aligned
from caffepy.engine.ops.onednn.eltwise import OneDnnEltwiseSum
from caffepy.engine.ops.onednn.passes import ForwardPass
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.post_ops import PostOps
from caffepy.engine.ops.onednn.scale import OneDnnScale

PER_CHANNEL: dict[type[Op], str] = {  # ops and the methods in question
    OneDnnBatchNorm: "forward_test",
    OneDnnScale: "forward",
    OneDnnBias: "forward",
}
TITLES: dict[type[Op], str] = {
    OneDnnBatchNorm: "BatchNorm",
    OneDnnScale: "Scale",
    OneDnnBias: "Bias",
    OneDnnEltwiseSum: "Eltwise",
    OneDnnRelu: "ReLU",
}


Kind = tuple[bool, bool, bool, bool]  # with bias; then channels, an addition, a rectifier after it


@dataclass
class Variant:
    """A product's primitive with operations after it.  forward: made when first run."""

    primitive: Primitive
    after: PostOps
    forward: ForwardPass | None = None


class Weighted(Protocol):
    """What is needed of convolution and inner product.

    variants: those that were wanted before; None where the library is slower, or cannot do it. They
    outlive Programs, which nets that change shape record anew.
    """

    ops: PrimitiveOps
    variants: dict[Kind, Variant | None]

    def describe_forward(self, bias: bool, after: PostOps | None = None) -> Primitive: ...
    def forward_primitive(self, bias: bool) -> Primitive: ...
    def plain_weights(self) -> Descriptor: ...


class FusedForward(Op):
    """y = relu(s (w x + b) + t + z) in one pass over memory, all behind the product optional.

    s and t: one number per channel, from normalisations by stored statistics, scales and biases in
    place of the product.  z: another value, in the sum of an Eltwise layer; the product itself is
    then written nowhere.  relu: in place of the last result, with its slope.

    nan stays nan. Only -inf becomes nan under a ReLU of slope 0, and where intermediate results of
    the layers leave float32, those of s and t may not. s and t are computed anew when what they
    come from was written. Where Python code holds an array of a result, the steps run one by one:
    it gets no -0, as the library may make of 0.
    """

    ops: PrimitiveOps

    def __init__(
        self,
        product: Weighted,
        step: Step,
        channels: Sequence[Step] = (),
        addition: Step | None = None,
        rectifier: Step | None = None,
    ) -> None:
        """step: the call of `product`.  channels, addition, rectifier: the steps after it."""
        super().__init__(product.ops)
        self._product = product
        self._channels = tuple(channels)
        self._addition = addition
        self._rectifier = rectifier
        others = (addition, rectifier)
        self._steps = [step, *self._channels, *(other for other in others if other is not None)]
        self._given = step.arguments
        self._bias = self._given["b"] is not None
        self._plain_out: Value = self._given["out"]
        self._out: Value = self._plain_out if addition is None else addition.arguments["out"]
        self._pass: ForwardPass | None = None
        self._terms = [_Terms(one, self._plain_out) for one in self._channels]
        self._versions: list[int] = []
        self._operands: list[np.ndarray] = []  # of the operations after the product, without z

    def folded(self, step: Step, after: Step, prospect: Prospect) -> Step | None:
        """Takes over scales and biases per channel, a sum and a ReLU, in this order."""
        if self._rectifier is not None:
            return None
        if self._addition is None:
            if self._is_per_channel(after, prospect):
                return self._with(channels=(*self._channels, after))
            if self._is_sum(after, prospect):
                return self._with(addition=after)
        return self.merged(step, after)

    def merged(self, step: Step, after: Step) -> Step | None:
        """Takes over a ReLU."""
        in_place = _works_in_place(after, self._out) and after.method == "forward"
        if self._rectifier is None and in_place and isinstance(after.op, OneDnnRelu):
            return self._with(rectifier=after)
        return None

    def unfold(self) -> None:
        """The result goes to memory that is then dropped."""
        if not self._channels:
            return
        apart = Value(self._plain_out.shape, self.ops.dtype)
        for one in (self._steps[0], *self._channels):
            arguments = {
                name: apart if given is self._plain_out else given
                for name, given in one.arguments.items()
            }
            getattr(one.op, one.method)(**arguments)

    def run(self) -> None:
        """Overwrites the result."""
        if self._plain_out.leased or self._out.leased:
            for one in self._steps:
                one()
            return
        forward = self._pass
        if forward is None:
            forward = self._pass = self._make()
        if self._terms:
            self._refresh()
        given, operands = self._given, self._operands
        if self._addition is not None:
            z = next(x for x in self._addition.arguments["xs"] if x is not self._plain_out)
            operands = [*operands, z.read(forward.target)]
        forward.run(given["x"], given["w"], given["b"], self._out, *operands)

    def _with(self, **more: Any) -> Step | None:
        """The step that also does what a further one does; None where the library is slower then,
        or cannot do it."""
        known = {
            "channels": self._channels,
            "addition": self._addition,
            "rectifier": self._rectifier,
        }
        longer = FusedForward(self._product, self._steps[0], **{**known, **more})
        return None if longer._variant() is None else longer._as_step()

    def _as_step(self) -> Step:
        steps = self._steps
        written = [value for one in steps for value in one.writes]
        inner = {value.storage_id for value in written}
        read = [value for one in steps for value in one.reads if value.storage_id not in inner]
        return Step(
            self.run,
            tuple(read),
            tuple(dict.fromkeys(written)),
            layer=steps[0].layer,
            name=" and ".join([steps[0].name, *(TITLES[type(one.op)] for one in steps[1:])]),
            op=self,
            method="run",
        )

    def _post_ops(self) -> PostOps:
        """s, t, slope and z as operands; see `_make` for the order."""
        after = PostOps()
        dims = self._usual().argument(Arg.TARGET).dims
        channels = Descriptor.plain((1, dims[1], *(1 for _ in dims[2:])))
        if self._channels:
            after.combine(Algorithm.BINARY_MUL, channels)
            after.combine(Algorithm.BINARY_ADD, channels)
        if self._addition is not None:
            after.combine(Algorithm.BINARY_ADD, Descriptor.any(dims))
        if self._rectifier is not None:
            after.rectify()
        return after

    def _usual(self) -> Primitive:
        """That of the product alone."""
        return self._product.forward_primitive(self._bias)

    def _variant(self) -> Variant | None:
        kind = (
            self._bias,
            bool(self._channels),
            self._addition is not None,
            self._rectifier is not None,
        )
        known = self._product.variants
        if kind not in known:
            known[kind] = self._describe()
        return known[kind]

    def _describe(self) -> Variant | None:
        """None where the library has no such primitive, or one that is slower or has layouts other
        than the product's alone."""
        after, usual = self._post_ops(), self._usual()
        try:
            primitive = self._product.describe_forward(self._bias, after)
        except DeviceError:
            return None
        target = primitive.argument(Arg.TARGET)
        like_target = [usual.argument(Arg.TARGET)]
        if self._addition is not None:
            like_target.append(primitive.argument(after.places[2 * bool(self._channels)]))
        if primitive.implementation != usual.implementation or not all(
            target.equals(each) for each in like_target
        ):
            return None
        return Variant(primitive, after)

    def _make(self) -> ForwardPass:
        variant = self._variant()
        assert variant is not None, "it was found before"
        primitive, places = variant.primitive, variant.after.places
        if self._channels:
            size = primitive.argument(Arg.TARGET).dims[1] * 4
            self._operands = [aligned(size), aligned(size)]
        if self._rectifier is not None:
            slope = self._rectifier.op.slope or -0.0  # negative numbers times -0 are 0
            self._operands.append(np.full(1, slope, np.float32))
        if variant.forward is None:
            if self._addition is not None:  # z comes last, since it is another array in each call
                place = 2 * bool(self._channels)
                places = [*places[:place], *places[place + 1 :], places[place]]
            weights = self._product.plain_weights()
            variant.forward = ForwardPass(
                primitive, self.ops.scratchpad, weights, self._bias, places
            )
        return variant.forward

    def _refresh(self) -> None:
        """Computes s and t anew where they may have changed."""
        versions = [source.version for terms in self._terms for source in terms.sources]
        if versions == self._versions:
            return
        self._versions = versions
        factor, bias = self._operands[:2]
        factor[:], bias[:] = 1, 0
        for terms in self._terms:
            terms.apply(factor, bias)

    def _is_per_channel(self, after: Step, prospect: Prospect) -> bool:
        """Whether a step multiplies by, or adds, numbers per channel that the run does not make."""
        wanted = PER_CHANNEL.get(type(after.op))
        if after.method != wanted or not _works_in_place(after, self._plain_out):
            return False
        dims = self._usual().argument(Arg.TARGET).dims
        geometry = after.op.geometry
        if (geometry.outer, geometry.size) != dims[:2]:
            return False
        sources = _Terms(after, self._plain_out).sources
        return not any(source.storage_id in prospect.written for source in sources)

    def _is_sum(self, after: Step, prospect: Prospect) -> bool:
        """Whether a step adds another value to the result, which nobody reads any more."""
        if not isinstance(after.op, OneDnnEltwiseSum) or after.method != "forward":
            return False
        xs, own = after.arguments["xs"], self._plain_out
        return (
            tuple(after.op.coefficients) == (1, 1)
            and sum(x is own for x in xs) == 1
            and sum(x.shares_memory_with(own) for x in xs) == 1
            and own.storage_id in prospect.spare
        )


class _Terms:
    """The factor and the bias per channel of one step. sources: what they come from."""

    def __init__(self, step: Step, out: Value) -> None:
        self._step = step
        self.sources = [
            given
            for given in step.arguments.values()
            if given is not out and isinstance(given, Value)
        ]

    def apply(self, factor: np.ndarray, bias: np.ndarray) -> None:
        """Puts this step behind what factor and bias stand for: changes both."""
        op, given = self._step.op, self._step.arguments
        if isinstance(op, OneDnnBatchNorm):
            mean, inverse = op.stored_statistics(given["mean"], given["variance"], given["factor"])
            bias -= mean
            bias *= inverse
            factor *= inverse
            return
        if isinstance(op, OneDnnScale):
            scale = given["s"].read().reshape(-1)
            factor *= scale
            bias *= scale
        if given["b"] is not None:
            bias += given["b"].read().reshape(-1)


def _works_in_place(step: Step, value: Value) -> bool:
    """Whether a step reads a value as x and overwrites it."""
    return step.arguments.get("x") is step.arguments.get("out") is value
