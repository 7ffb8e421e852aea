"""Whole training steps on a GPU: what `python -m benchmarks.train_step --gpu 0` does.

All contenders run in turns in one process, each for about --seconds a round. A turn is many steps
that are waited for once, by the wall clock. x eager, x graphs: how many times as fast as PyTorch
step by step, and as a CUDA graph. MB: what the contender took of the device until its steps were
warm, pools and workspaces included; the first of a process also pays for its libraries. loss: of
the first step, of equal weights and batch: all compute the same, but for what dropout leaves out.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.metadata
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contenders import OurStep, weights_of
from benchmarks.gpu import gpu_ops
from benchmarks.gpu_contenders import (
    CONTENDERS,
    EAGER,
    GRAPHS,
    OURS,
    Contender,
    free_memory,
    make,
)
from benchmarks.nets import NETS
from benchmarks.rounds import measure
from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto.caffe_pb2 import TEST

LAUNCH_BOUND = ("lenet", "cifar10_quick")
TURN_SECONDS = 0.1  # of the steps that are waited for together, about
WARM_STEPS = 8
TARGETS = {EAGER: 1.2, GRAPHS: 0.95}
LAUNCH_BOUND_TARGET = 3.0  # of eager
WIDTHS = (22, 14, 11, 10, 10, 10, 9, 9, 9, 12)
HEADINGS = (
    "net (batch)", "engine", "images/s", "ms", "fastest", "slowest", "x eager", "x graphs", "MB",
    "loss",
)  # fmt: skip

MakeOps = Callable[[], Ops]


@dataclass(frozen=True)
class Result:
    """Of a contender. ms: of a step, one number a round.  taken: bytes of the device."""

    ms: Sequence[float]
    taken: int | None
    loss: float

    @property
    def median(self) -> float:
        return sorted(self.ms)[len(self.ms) // 2]


def contenders(parser: argparse.ArgumentParser, wanted: str | None) -> tuple[str, ...]:
    """Who takes part. wanted: "caffepy", "torch" or both with a comma; all that are installed by
    default. Ends the program where one is unknown or missing."""
    installed = importlib.util.find_spec("torch") is not None
    if wanted is None:
        return CONTENDERS if installed else (OURS,)
    names = wanted.split(",")
    for name in names:
        if name not in (OURS, "torch"):
            parser.error(f"--engines: expected some of {OURS}, torch, got '{name}'.")
        if name == "torch" and not installed:
            parser.error("--engines: torch: PyTorch is not installed. Leave it out, or install it.")
    return tuple(one for one in CONTENDERS if one.split()[0] in names)


def time_net(
    net: str,
    names: Sequence[str],
    make_ops: MakeOps,
    *,
    batch: int | None = None,
    precision: str = "tf32",
    device: str = "cuda",
    rounds: int = 7,
    seconds: float = 0.5,
) -> dict[str, Result]:
    """The results of all contenders on a net, without those that fail, of which a line tells.

    batch: instead of the net's own.  make_ops: gives our backend, with memory of its own.
    device: PyTorch's.
    """
    param = NETS[net].param(batch or NETS[net].gpu_batch)
    weights = weights_of(OurStep(NETS[net].param(1), NumpyOps(), TEST).net)
    ops = make_ops()
    made: dict[str, Contender] = {}
    taken, losses, steps = {}, {}, {}
    for name in names:
        _empty_caches()
        before = free_memory()
        try:
            one = make(name, param, ops, weights, precision, device)
            one.run(1)
            losses[name] = one.loss
            one.run(WARM_STEPS)
        except (CaffepyError, RuntimeError) as error:  # of ours, and of PyTorch
            print(f"{NETS[net].title}, {name}: {error}", flush=True)
            continue
        made[name] = one
        after = free_memory()
        taken[name] = None if before is None or after is None else before - after
        started = time.perf_counter()
        made[name].run(WARM_STEPS)
        each = (time.perf_counter() - started) / WARM_STEPS
        steps[name] = max(1, round(min(TURN_SECONDS, seconds) / max(each, 1e-6)))
    if not made:
        return {}
    turns = {name: functools.partial(one.run, steps[name]) for name, one in made.items()}
    ms = measure(turns, rounds, seconds).ms
    return {
        name: Result([each / steps[name] for each in ms[name]], taken[name], losses[name])
        for name in made
    }


def _empty_caches() -> None:
    """What nobody uses goes back to the device, so that the next one takes its own."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


class GpuTable:
    """Lines as they come, and the means. batch: of all nets, instead of their own."""

    def __init__(self, markdown: bool, batch: int | None = None) -> None:
        self._markdown = markdown
        self._batch = batch
        self.ratios: dict[str, dict[str, float]] = {EAGER: {}, GRAPHS: {}}

    def start(self) -> None:
        self._print(HEADINGS)
        if self._markdown:
            self._print(("---", "---", *["---:"] * (len(HEADINGS) - 2)))

    def add(self, net: str, results: Mapping[str, Result]) -> None:
        """The lines of a net."""
        batch = self._batch or NETS[net].gpu_batch
        for name, one in results.items():
            ratios = []
            for other, found in self.ratios.items():
                ratio = results[other].median / one.median if other in results else None
                if name == OURS and ratio is not None:
                    found[net] = ratio
                ratios.append("-" if ratio is None else f"{ratio:.2f}")
            self._print(
                (
                    f"{NETS[net].title} ({batch})",
                    name,
                    f"{batch / one.median * 1e3:.1f}",
                    *(f"{ms:.3f}" for ms in (one.median, min(one.ms), max(one.ms))),
                    *ratios,
                    "-" if one.taken is None else f"{one.taken / 1e6:.0f}",
                    f"{one.loss:.6g}",
                )
            )

    def end(self) -> None:
        """Prints the geometric means beside what is aimed at."""
        for name, ratios in self.ratios.items():
            if ratios:
                lowest = min(ratios, key=lambda net: ratios[net])
                self._mean(name, ratios, TARGETS[name])
                print(f"  lowest {ratios[lowest]:.2f} ({NETS[lowest].title})")
        bound = {net: ratio for net, ratio in self.ratios[EAGER].items() if net in LAUNCH_BOUND}
        if bound:
            self._mean(f"{EAGER}, where launches dominate", bound, LAUNCH_BOUND_TARGET)

    def _mean(self, what: str, ratios: Mapping[str, float], target: float) -> None:
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        reached = "reached" if mean >= target else "missed"
        print(
            f"{mean:.2f} times as fast as {what} (geometric mean of {len(ratios)}; aim {target:g}: "
            f"{reached})"
        )

    def _print(self, cells: Sequence[str]) -> None:
        if self._markdown:
            print(f"| {' | '.join(cells)} |", flush=True)
            return
        padded = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
        ]
        print("".join(padded).rstrip(), flush=True)


def run(parser: argparse.ArgumentParser, nets: Sequence[str], given: argparse.Namespace) -> None:
    """Prints the table.

    Raises: SystemExit where there is no GPU; at the end, where something failed.
    """
    names = contenders(parser, given.engines)
    about = gpu_ops(given.gpu).runtime.properties()
    print(f"python -m benchmarks.train_step {' '.join(sys.argv[1:])}".rstrip())
    torch = f"; PyTorch {importlib.metadata.version('torch')}" if EAGER in names else ""
    print(f"GPU {about.index}: {about.name}; products in {given.precision}{torch}", flush=True)
    table, failed = GpuTable(given.markdown, given.batch), []
    table.start()
    for net in nets:
        results = time_net(
            net,
            names,
            functools.partial(gpu_ops, given.gpu, given.precision),
            batch=given.batch,
            precision=given.precision,
            device=f"cuda:{about.index}",
            rounds=given.rounds,
            seconds=given.seconds,
        )
        table.add(net, results)
        failed += [net] * (results.keys() != set(names))
    print()
    table.end()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")
