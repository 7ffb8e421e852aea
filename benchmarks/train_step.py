"""python -m benchmarks.train_step: milliseconds of a whole training step, engine against engine.

Forward, backward and update, the data in memory. All engines run in turns in one process; ratios
are of medians over the rounds. PyTorch takes part where it is installed. While oneDNN takes part,
numpy's matrix products have one thread: `--engines numpy` gives them all.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable

import caffepy.layers  # noqa: F401 - registers the layer types
from benchmarks.nets import NETS
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.select import make_ops
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import NetParameter, SolverParameter

Step = Callable[[], None]


def caffepy_step(prototxt: str, engine: str, threads: int) -> Step:
    """One iteration of a solver on an engine."""
    param = SolverParameter(
        net_param=text.parse(prototxt, NetParameter), base_lr=1e-4, lr_policy="fixed", momentum=0.9,
        weight_decay=5e-4, max_iter=1 << 30, random_seed=1,
    )  # fmt: skip
    solver = Solver(Settings(param), ops=make_ops(engine, threads), registry=LAYERS)
    return lambda: solver.step(1)


def torch_steps(prototxt: str, threads: int) -> dict[str, Step]:
    """PyTorch in both memory formats; none where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    from benchmarks.torch_net import TorchStep

    return {
        "torch nchw": TorchStep(prototxt, torch.contiguous_format, threads),
        "torch channels_last": TorchStep(prototxt, torch.channels_last, threads),
    }


def measure(steps: dict[str, Step], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Milliseconds per step and round; in each round every engine runs for about `seconds`."""
    repeats = {}
    for name, step in steps.items():
        for _ in range(3):
            step()
        started = time.perf_counter()
        step()
        repeats[name] = max(1, round(seconds / (time.perf_counter() - started)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(repeats[name]):
                step()
            times[name].append((time.perf_counter() - started) * 1e3 / repeats[name])
    return times


def main() -> None:
    """Prints a table per net: median, fastest and slowest round, and how much faster than the
    first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", default=",".join(NETS), help="default: all")
    parser.add_argument("--engines", default="numpy,onednn")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3, help="per engine and round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    for net in arguments.nets.split(","):
        prototxt = NETS[net]()
        steps = {
            engine: caffepy_step(prototxt, engine, arguments.threads)
            for engine in arguments.engines.split(",")
        }
        steps |= torch_steps(prototxt, arguments.threads)
        times = measure(steps, arguments.rounds, arguments.seconds)
        medians = {name: statistics.median(values) for name, values in times.items()}
        torch_best = min((medians[name] for name in medians if "torch" in name), default=None)
        print(f"\n{net}, {arguments.threads} threads, ms per step")
        print(f"{'engine':<22}{'median':>9}{'min':>9}{'max':>9}  x best torch")
        for name, values in times.items():
            ratio = f"{torch_best / medians[name]:12.2f}" if torch_best else " (no PyTorch)"
            print(f"{name:<22}{medians[name]:9.2f}{min(values):9.2f}{max(values):9.2f}{ratio}")


if __name__ == "__main__":
    main()
