"""python -m benchmarks.layers [TYPE ...]: milliseconds of each layer type, against PyTorch.

Forward and backward (the gradients of bottoms and parameters) of a layer alone, in shapes of
well-known nets, in turns with a few lines of PyTorch that compute the same; first the numbers of
both are compared. Medians over the rounds that no other program disturbed; ratios are our time to
PyTorch's, and those above SLOW are marked. As in a net of layers that agree, blobs stand in the
layouts that the engine wants.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np

import caffepy.layers  # noqa: F401 - registers the layer types
from benchmarks.layer_cases import Case, cases
from benchmarks.rounds import Step, measure
from caffepy.engine import single_layer
from caffepy.engine.core.record import recorded
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.select import ENGINES, make_ops

SLOW = 5.0
TOLERANCE = 1e-3  # of the largest number: float32 sums in another order
DRAWN_TOLERANCE = 0.02  # of means of random numbers


class OurLayer:
    """A layer on an engine, run as a net runs it: as its recorded steps, where it records.

    diffs: of the tops, 1 for a loss.  tops, gradients: what the first pass computed, the latter for
    the bottoms that learn, then the parameters.
    """

    def __init__(self, case: Case, bottoms: list[np.ndarray], ops: Ops) -> None:
        run = single_layer.make_layer(case.param, bottoms, ops=ops)
        layer = run.layer
        wanted = [bottom.learns for bottom in case.bottoms]
        layer.reshape(run.bottom, run.top)
        self.forward = self._runner(run, lambda: layer.forward(run.bottom, run.top))
        self.tops = [blob.data.read().copy() for blob in run.top]
        self.parameters = [blob.data.read().copy() for blob in layer.blobs]
        random = np.random.default_rng(2)
        self.diffs = [
            np.ones(blob.shape, np.float32)
            if layer.loss_weight(index)
            else random.standard_normal(blob.shape, np.float32)
            for index, blob in enumerate(run.top)
        ]
        self.backward: Step = _nothing
        self.gradients: list[np.ndarray] = []
        if not case.learns:
            return
        for blob, diff in zip(run.top, self.diffs, strict=True):
            blob.diff.write()[...] = diff
        for blob in layer.blobs:
            blob.diff.clear()
        self.backward = self._runner(run, lambda: layer.backward(run.top, wanted, run.bottom))
        learnt = [blob for blob, needed in zip(run.bottom, wanted, strict=True) if needed]
        self.gradients = [blob.diff.read().copy() for blob in (*learnt, *layer.blobs)]

    @staticmethod
    def _runner(run: single_layer.SingleLayer, call: Callable[[], None]) -> Step:
        """Calls it once; returns what does the same again."""
        steps = recorded(run.layer.ops, call)

        def replay() -> None:
            for one in steps:
                one()

        def call_anew() -> None:
            run.layer.reshape(run.bottom, run.top)
            call()

        return replay if run.layer.records else call_anew


def _nothing() -> None:
    """The backward pass of a layer without a gradient."""


def torch_steps(case: Case, bottoms: list[np.ndarray], ours: OurLayer) -> dict[str, Step]:
    """PyTorch's passes, after a comparison of their results with `ours`; none where it is not
    installed, or has nothing that computes the same."""
    if importlib.util.find_spec("torch") is None:
        return {}
    from benchmarks.torch_layers import EQUIVALENTS, TorchLayer

    if case.type not in EQUIVALENTS:
        return {}
    learns = [bottom.learns and case.learns for bottom in case.bottoms]
    theirs = TorchLayer(case.param, bottoms, ours.parameters, ours.diffs, learns)
    theirs.forward()
    steps: dict[str, Step] = {"forward": theirs.forward}
    for index, (found, expected) in enumerate(zip(ours.tops, theirs.tops, strict=True)):
        _compare(case, f"top {index}", found, expected)
    if case.learns:
        theirs.backward()
        pairs = zip(ours.gradients, theirs.gradients, strict=True)
        for index, (found, gradient) in enumerate(pairs):
            if gradient is not None:
                _compare(case, f"gradient {index}", found, gradient)
        steps["backward"] = theirs.backward
    return steps


def _compare(case: Case, what: str, found: np.ndarray, expected: Any) -> None:
    """Raises: SystemExit where the results differ."""
    expected = expected.detach().numpy().reshape(-1).astype(np.float64)
    found = found.reshape(-1).astype(np.float64)
    assert found.shape == expected.shape, f"{case.name}: {what}"
    if case.drawn:
        distance, most = abs(found.mean() - expected.mean()), DRAWN_TOLERANCE
    else:
        distance = np.abs(found - expected).max(initial=0)
        most = TOLERANCE * max(1e-6, np.abs(expected).max(initial=0))
    if not distance <= most:
        raise SystemExit(
            f"{case.name}: {what}: differs from PyTorch's by {distance:.3g}, expected at most "
            f"{most:.3g}. They do not compute the same: correct the case or the layer."
        )


def time_case(case: Case, ops: Ops, rounds: int, seconds: float) -> dict[str, tuple[float, ...]]:
    """For forward and, where there is one, backward: our milliseconds, and PyTorch's if known."""
    random = np.random.default_rng(1)
    bottoms = [np.asarray(bottom.draw(random), np.float32) for bottom in case.bottoms]
    ours = OurLayer(case, bottoms, ops)
    theirs = torch_steps(case, bottoms, ours)
    steps = {"forward": ours.forward, "backward": ours.backward}
    found = {}
    for way in ("forward", "backward") if case.learns else ("forward",):
        both = [steps[way], *([theirs[way]] if way in theirs else [])]
        with np.errstate(all="ignore"):  # as in a net
            times = measure(dict(zip(("ours", "torch"), both, strict=False)), rounds, seconds)
        found[way] = tuple(times.medians().values())
    return found


def _columns(times: tuple[float, ...]) -> str:
    """Our time, PyTorch's, and the ratio; a mark where it is slow."""
    if not times:
        return f"{'-':>9}{'-':>9}{'-':>9}  "
    if len(times) == 1:
        return f"{times[0]:9.3f}{'-':>9}{'-':>9}  "
    ratio = times[0] / times[1]
    return f"{times[0]:9.3f}{times[1]:9.3f}{ratio:9.2f}{' *' if ratio > SLOW else '  '}"


def main() -> None:
    """Prints the table, then what is slow and which types are not timed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("types", nargs="*", metavar="TYPE", help="default: all")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="per pass and round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    known = {case.type for case in cases(1)}
    for layer_type in arguments.types:
        if layer_type not in known:
            parser.error(
                f"TYPE: expected one of {', '.join(sorted(known))}, got '{layer_type}'. Types that "
                "compute nothing, read data or run Python code are not timed."
            )
    ops = make_ops(arguments.engine, arguments.threads)
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(arguments.threads)
    print(
        f"engine {ops.name}, {arguments.threads} threads, ms; * more than {SLOW:g}x PyTorch's time"
    )
    print(f"{'layer':<26}{'forward':>9}{'PyTorch':>9}{'ratio':>9}  ", end="")
    print(f"{'backward':>9}{'PyTorch':>9}{'ratio':>9}")
    slow = []
    for case in cases(arguments.batch):
        if arguments.types and case.type not in arguments.types:
            continue
        times = time_case(case, ops, arguments.rounds, arguments.seconds)
        columns = [_columns(times.get(way, ())) for way in ("forward", "backward")]
        print(f"{case.name:<26}{''.join(columns)}".rstrip(), flush=True)
        slow += [
            f"{case.name} {way} {both[0] / both[1]:.1f}"
            for way, both in times.items()
            if len(both) == 2 and both[0] > SLOW * both[1]
        ]
    print(f"more than {SLOW:g}x slower than PyTorch: {', '.join(slow) or 'none'}")
    print(f"not timed: {', '.join(sorted(LAYERS.keys() - known))}")


if __name__ == "__main__":
    main()
