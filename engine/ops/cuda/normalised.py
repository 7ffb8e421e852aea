"""BatchNorm, Scale and ReLU in place as one, forward and backward, on a GPU.

What BatchNorm reads stays where the step before it wrote it; what Scale reads is not kept, and made
again should somebody run Scale's backward pass alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from caffepy.engine.core.record import Step, joined
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.cuda.activation import CudaRelu
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.rectified import is_relu
from caffepy.engine.ops.cuda.scale import CudaScale
from caffepy.engine.ops.diverted import Diverted
from caffepy.engine.ops.geometry import AxisGeometry

Rearranged = tuple[int, Sequence[Step]]  # as `Op.rearranged` returns it


class Normalising(Protocol):
    """A BatchNorm op as what runs in its place sees it: the attributes and methods are those of
    NormaliseOp and CudaBatchNorm."""

    ops: DeviceOps
    geometry: AxisGeometry
    channels: int
    inner: int
    mean: Value
    inverse: Value
    along_ones: Value
    along_normal: Value
    behind: MergedForward | None

    @property
    def parts(self) -> tuple[int, int, int, Value]: ...

    def take_statistics(self, x: Value, mean: Value, variance: Value, factor: Value) -> None: ...

    def bring_statistics(self, mean: Value, variance: Value, factor: Value) -> None: ...

    def kept_for(self, x: Value, out: Value) -> Value | None: ...

    def original(self, x: Value) -> Value: ...

    def normalise(self, x: Value, out: Value) -> None: ...

    def launch_parts(self, kernel: str, *arguments: object, by: CudaOp | None = None) -> None: ...


def forward(norm: Normalising, before: Sequence[Step], step: Step) -> Rearranged:
    """What a `forward_train` and the steps before it become."""
    x, out = step.arguments["x"], step.arguments["out"]
    if x is not out or not before or not Diverted.possible(before[-1], out):
        return 0, (MergedForward(norm, [step]).step,)
    kept = norm.kept_for(x, out)
    assert kept is not None, "out overwrites x"
    source = Diverted(before[-1], kept)
    return 1, (source.step, MergedForward(norm, [step], source=source).step)


def backward(norm: Normalising, before: Sequence[Step], step: Step) -> Rearranged | None:
    """What a `backward_train` in place and the steps before it become."""
    diff, rest = step.arguments["dy"], list(before)

    def take(kind: type[Op], method: str) -> Step | None:
        """The last of the steps that are left, if it is such a call in place."""
        last = rest[-1] if rest else None
        if last is None or not isinstance(last.op, kind) or last.method != method:
            return None
        in_place = last.arguments["dy"] is diff is last.arguments.get("out", diff)
        return rest.pop() if in_place else None

    of_data = take(CudaScale, "backward_data")
    of_parameters = take(CudaScale, "backward_params") if of_data else None
    of_relu = take(CudaRelu, "backward")
    if step.arguments["out"] is not diff or not (of_data or of_relu):
        return None
    if of_data and not _along_channels(norm, of_data.op):
        return None
    if of_data and of_parameters and of_parameters.op is not of_data.op:
        return None
    if of_parameters and of_parameters.arguments.get("out_s"):
        return None
    if of_relu and of_relu.op.slope < 0:
        return None
    steps = [*before[len(rest) :], step]
    merged = MergedBackward(norm, steps, of_data, of_parameters, of_relu, _unchanged(rest, diff))
    return len(steps) - 1, (merged.step,)


def folded(product: Step, after: Step) -> Step | None:
    """A product, and BatchNorm in place of its result by stored statistics."""
    out = product.arguments["out"]
    in_place = after.method == "forward_test" and after.arguments["x"] is after.arguments["out"]
    if product.method != "forward" or not in_place or after.arguments["out"] is not out:
        return None
    return MergedForward(after.op, [after], product=product).step


def _along_channels(norm: Normalising, scale: CudaScale) -> bool:
    return scale.geometry.shape == norm.geometry.shape


def _unchanged(before: Sequence[Step], diff: Value) -> bool:
    """Whether the layer behind ReLU was none that works in place, and changed what ReLU wrote: then
    the last step that wrote the gradient has read it too."""
    for step in reversed(before):
        if any(value.shares_memory_with(diff) for value in step.writes):
            return not any(value.shares_memory_with(diff) for value in step.reads)
    return False


class MergedForward(CudaOp):
    """A forward pass of BatchNorm, and those of Scale and ReLU that may follow in place.

    steps: these, one by one.  source: the step before, where it writes x to where that is kept.
    product: the step before, in a run that no backward pass follows: nothing is kept.
    """

    family = "normalised"

    def __init__(
        self,
        norm: Normalising,
        steps: Sequence[Step],
        source: Diverted | None = None,
        product: Step | None = None,
    ) -> None:
        super().__init__(norm.ops)
        self.norm = norm
        self.scale: CudaScale | None = None
        self.relu: CudaRelu | None = None
        self.slope = 1.0
        self.factors: Sequence[Value] = ()  # s and b of Scale
        for one in steps[1:]:
            if isinstance(one.op, CudaScale):
                self.scale = one.op
                given = (one.arguments["s"], one.arguments["b"])
                self.factors = [value for value in given if value is not None]
            else:
                self.relu, self.slope = one.op, one.op.slope
        self._steps = tuple(steps)
        self._source = source
        self._product = product
        if product is None:
            norm.behind = self
        calls = self._steps if product is None else (product, *self._steps)
        self.step = joined(calls, self._run, self)

    def merged(self, step: Step, after: Step) -> Step | None:
        """Scale in place along the channels, then ReLU in place."""
        given, out = after.arguments, self._steps[0].arguments["out"]
        if self.relu is not None or after.method != "forward":
            return None
        scales = (
            self.scale is None
            and isinstance(after.op, CudaScale)
            and given["x"] is given["out"] is out
            and _along_channels(self.norm, after.op)
        )
        if not scales and not is_relu(after, out):
            return None
        steps = (*self._steps, after)
        return MergedForward(self.norm, steps, self._source, self._product).step

    def unfold(self) -> None:
        """The result goes to memory that is then dropped."""
        if self._product is None:
            return
        out = self._product.arguments["out"]
        apart = Value(out.shape, out.dtype)
        for one in (self._product, *self._steps):
            arguments = {
                name: apart if given is out else given for name, given in one.arguments.items()
            }
            getattr(one.op, one.method)(**arguments)

    def _run(self) -> None:
        norm, first = self.norm, self._steps[0]
        x, out = first.arguments["x"], first.arguments["out"]
        statistics = [first.arguments[name] for name in ("mean", "variance", "factor")]
        if self._product is not None:
            self._product.run()
        if first.method == "forward_test":
            norm.bring_statistics(*statistics)
            kept = None
            if self.scale is not None and self._product is None:
                kept = self.scale.kept_for(out, out)
            self._launch("normalised_and_keep_normal", x, out, kept)
            return
        kept = norm.kept_for(x, out)
        if self._source is not None and self._source.took_place and kept is not None:
            x, kept = kept, None
        norm.take_statistics(x, *statistics)
        self._launch("normalised_and_keep", x, out, kept)
        if self.scale is not None:
            self.ops.each_run(self._tell_scale)

    def _launch(self, keeping: str, x: Value, out: Value, kept: Value | None) -> None:
        kernel, outs = ("normalised", (out,)) if kept is None else (keeping, (out, kept))
        sizes = x.count, self.norm.channels, self.norm.inner
        options, values = channels_of(self.norm, self.factors, self.slope)
        self.launch(kernel, *sizes, *options, x, *values, *outs)

    def _tell_scale(self) -> None:
        assert self.scale is not None, "it asked for this"
        self.scale.missed(self._make_input_of_scale)

    def _make_input_of_scale(self, value: Value) -> None:
        self.norm.normalise(self.norm.original(self._steps[0].arguments["x"]), value)


class MergedBackward(CudaOp):
    """A `backward_train`, and the passes of ReLU and Scale before it.

    unchanged: whether no layer has changed in place what ReLU wrote. Then its signs are made again
    from x, which takes no memory's time, unless somebody looked at them on the host: the device
    is told before each run.
    """

    family = "normalised"

    def __init__(
        self,
        norm: Normalising,
        steps: Sequence[Step],
        of_data: Step | None,
        of_parameters: Step | None,
        of_relu: Step | None,
        unchanged: bool,
    ) -> None:
        super().__init__(norm.ops)
        self._norm = norm
        self._diff: Value = steps[-1].arguments["dy"]
        self._x: Value = steps[-1].arguments["x"]
        self._y: Value | None = None if of_relu is None else of_relu.arguments["x"]
        self._slope: float = 1.0 if of_relu is None else of_relu.op.slope
        self._factors: Sequence[Value] = [] if of_data is None else [of_data.arguments["s"]]
        behind = norm.behind
        known = (
            behind is not None
            and behind.scale is (None if of_data is None else of_data.op)
            and behind.relu is (None if of_relu is None else of_relu.op)
        )
        if behind is not None and known:
            self._factors = behind.factors
        self._looks_always = not (known and unchanged)
        added = {} if of_parameters is None else of_parameters.arguments
        unwanted = self.scratch(norm.channels)
        given = (added.get(name) for name in ("add_s", "add_b"))
        self._sums = [unwanted if value is None else value for value in given]
        self._looks = Value((1,), np.uint64)
        self._sent: bool | None = None
        self.step = joined(steps, self._run, self)
        self.step.reads = tuple(dict.fromkeys((*self.step.reads, *self._factors)))

    def _run(self) -> None:
        norm, diff, x = self._norm, self._diff, self._norm.original(self._x)
        self.ops.each_run(self._tell)
        y = diff if self._y is None else self._y
        options, values = channels_of(norm, self._factors, self._slope)
        arguments = *options, self._looks, diff, x, y, *values
        norm.launch_parts("normalised_sums", *arguments, by=self)
        means = norm.along_ones, norm.along_normal
        self.launch_rows("normalised_means", *norm.parts, *means, *self._sums)
        sizes = diff.count, norm.channels, norm.inner
        self.launch("normalised_backward", *sizes, *arguments, *means, diff)

    def _tell(self) -> None:
        looks = self._y is not None and (self._looks_always or self._y.on_host)
        if looks != self._sent:
            number = np.full(1, looks, np.uint64)
            self.ops.runtime.upload(number, self._looks.write(self.ops.layout))
            self._sent = looks


def channels_of(
    norm: Normalising, factors: Sequence[Value], slope: float
) -> tuple[tuple[bool, bool, float], tuple[Value, ...]]:
    """What kernels are told of Scale and ReLU, and given for each channel; something that is there
    for what is not."""
    options = len(factors) > 0, len(factors) > 1, slope
    return options, (norm.mean, norm.inverse, *factors, norm.mean, norm.mean)[:4]
