"""python -m benchmarks.updates: the update of all parameters at once, rule by rule, engine against
engine.

PyTorch's optimisers take part where it is installed: fused where they can be, else foreach; it has
none like LARS. All run in turns in one process; ms are medians over the rounds. x torch says how
many times as fast as PyTorch; GB/s counts each array that a rule must read or write once.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.rounds import Step, measure
from caffepy.engine.core.value import Value
from caffepy.engine.ops.onednn.library import available
from caffepy.engine.ops.select import make_ops

SIZES = {"LeNet": 431_080, "ResNet-50": 25_557_032, "CaffeNet": 60_965_224}  # parameters
RATE, DECAY = 1e-4, 5e-4
MOMENTUM = {"momentum": 0.9}


@dataclass(frozen=True)
class Rule:
    """slots: histories.  numbers: what our op takes beside rate, scale and decay.  torch: the class
    and its options."""

    slots: int
    numbers: Mapping[str, float]
    torch: str = ""
    options: Mapping[str, object] = field(default_factory=dict)


RULES = {
    "sgd": Rule(1, MOMENTUM, "SGD", {**MOMENTUM, "fused": True}),
    "nesterov": Rule(1, MOMENTUM, "SGD", {**MOMENTUM, "nesterov": True, "fused": True}),
    "lars": Rule(1, {**MOMENTUM, "trust": 1e-3, "denominator_decay": DECAY}),
    "adagrad": Rule(1, {"delta": 1e-8}, "Adagrad", {"fused": True}),
    "rmsprop": Rule(1, {"delta": 1e-8, "rms_decay": 0.99}, "RMSprop", {"foreach": True}),
    "adadelta": Rule(2, {"delta": 1e-6, "momentum": 0.9}, "Adadelta", {"foreach": True}),
    "adam": Rule(
        2,
        {**MOMENTUM, "momentum2": 0.999, "delta": 1e-8, "shrink": 0.0},
        "Adam",
        {"fused": True},
    ),
}


def main() -> None:
    """Prints a table for each number of parameters."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rules", default=",".join(RULES), help="default: all")
    parser.add_argument(
        "--counts", default=",".join(map(str, SIZES.values())), help="of parameters"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="per engine and round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    unknown = set(given.rules.split(",")) - RULES.keys()
    if unknown:
        parser.error(f"--rules: expected some of {', '.join(RULES)}, got {', '.join(unknown)}.")
    engines = ["numpy"] + ["onednn"] * (available() is None)
    with_torch = importlib.util.find_spec("torch") is not None
    print(
        f"{'parameters':>11} {'rule':<10}{'engine':<8}{'ms':>9}{'fastest':>9}{'x torch':>9}  GB/s"
    )
    for count in map(int, given.counts.split(",")):
        for name in given.rules.split(","):
            rule = RULES[name]
            steps = {each: our_update(each, name, count, given.threads) for each in engines}
            if with_torch and rule.torch:
                steps["torch"] = torch_update(rule, count, given.threads)
            measured = measure(steps, given.rounds, given.seconds)
            medians = measured.medians()
            moved = count * 4 * (3 + 2 * rule.slots)
            for engine, ms in medians.items():
                ratio = f"{medians['torch'] / ms:9.2f}" if "torch" in medians else f"{'-':>9}"
                print(
                    f"{count:>11} {name:<10}{engine:<8}{ms:9.3f}{min(measured.ms[engine]):9.3f}"
                    f"{ratio}  {moved / ms / 1e6:.1f}",
                    flush=True,
                )


def our_update(engine: str, name: str, count: int, threads: int) -> Step:
    """One update of `count` parameters by an op of ours."""
    ops = make_ops(engine, threads)
    update: Callable[..., None] = getattr(ops, f"{name}_update")().update
    values = [Value((count,), ops.dtype) for _ in range(2 + RULES[name].slots)]
    for value in values:
        value.write()[...] = _numbers(count) if value in values[:2] else 0
    numbers = {"rate": RATE, "scale": 1.0, "decay": DECAY, **RULES[name].numbers}
    return lambda: update(*values, keep_diff=False, **numbers)


def torch_update(rule: Rule, count: int, threads: int) -> Step:
    """One step of PyTorch's optimiser."""
    import torch

    torch.set_num_threads(threads)
    parameter = torch.nn.Parameter(torch.from_numpy(_numbers(count)))
    parameter.grad = torch.from_numpy(_numbers(count))
    kind = getattr(torch.optim, rule.torch)
    step: Step = kind([parameter], lr=RATE, weight_decay=DECAY, **rule.options).step
    return step


def _numbers(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(count, np.float32)


if __name__ == "__main__":
    main()
