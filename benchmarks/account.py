"""Where the time of a step goes: what it must do at the least, and what takes the rest.

The least is counted, layer by layer and pass by pass, from the ops that the layers call: flops are
those of products with weights; bytes are those of every array that an op reads or writes, once
each. What a layer does element by element in place costs no bytes, since the layer before it has
the numbers at hand; BatchNorm needs them all before it can begin, and does. At the measured
ceilings each pass of a layer takes the longer of both; their sum is the floor. Arrays that stay in
the caches from one layer to the next can be quicker than it says.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.ceilings import Ceilings
from benchmarks.contenders import OurStep
from caffepy.engine.core import record
from caffepy.engine.core.record import recorded
from caffepy.engine.core.value import Value
from caffepy.engine.net import Net
from caffepy.engine.ops.onednn.layout import BlockedLayout

IN_PLACE = ("Dropout", "ELU", "PReLU", "Power", "ReLU", "Scale", "Sigmoid", "TanH")
UPDATE_ARRAYS = 5  # of SGD: weights, gradient and history are read, weights and history written
MOST_NAMES = 6  # of ops that an account lists
FEWEST_STEPS, WATCHED_SECONDS = 3, 0.5


@dataclass(frozen=True)
class Work:
    """One pass of a layer, or the update, at the least. moved: bytes."""

    name: str
    flops: int
    moved: int

    def floor_ms(self, ceilings: Ceilings) -> float:
        return max(ceilings.compute_ms(self.flops), ceilings.memory_ms(self.moved))


def work_of(step: OurStep) -> list[Work]:
    """Of all layers, in the order in which they run. The net runs for it, layer by layer."""
    net = step.net
    layers = range(len(net.layers))
    found = [_forward(net, index) for index in layers]
    if step.solver is None:
        return found
    needed = [index for index in reversed(layers) if net.layer_needs_backward[index]]
    found += [_backward(net, index) for index in needed]
    learning = [one.blob.data for one in net.parameters.learnable if one.rate]
    found.append(Work("update", 0, UPDATE_ARRAYS * sum(map(_size, learning))))
    return found


def _forward(net: Net, index: int) -> Work:
    layer = net.layers[index]
    moved = _moved(net, index, lambda: net.forward(index, index))
    return Work(f"{layer.name} forward", 2 * (layer.multiply_adds or 0), moved)


def _backward(net: Net, index: int) -> Work:
    """Of the gradients of the weights and of the bottoms, where they are wanted, each costs as much
    as the forward pass."""
    layer = net.layers[index]
    passes = any(layer.param_propagate_down) + any(net.bottom_needs_backward[index])
    moved = _moved(net, index, lambda: net.backward(index, index))
    return Work(f"{layer.name} backward", passes * 2 * (layer.multiply_adds or 0), moved)


def _moved(net: Net, index: int, run: Callable[[], None]) -> int:
    """The bytes that the ops called by `run` read and write, without those of the net's own sum of
    losses."""
    steps = recorded(net.ops, run)
    bottoms, tops = net.bottoms[index], net.tops[index]
    if net.layers[index].type in IN_PLACE and bottoms[0].data.shares_memory_with(tops[0].data):
        return 0
    return sum(
        _size(value)
        for one in steps
        if net.loss not in one.writes
        for values in (one.reads, one.writes)
        for value in {value.storage_id: value for value in values}.values()
    )


def _size(value: Value) -> int:
    return value.count * int(value.dtype.itemsize)


@dataclass
class Spent:
    """What happened while `watching` was open, in seconds.

    total: all of it.  primitives, reorders, numpy: in oneDNN's primitives, in copies from layout to
    layout, in ops that called no primitive, each without the others.  ops: number of op calls.
    by_name: seconds by op and method, with reorders and all.
    """

    total: float = 0.0
    primitives: float = 0.0
    primitive_calls: int = 0
    reorders: float = 0.0
    reorder_calls: int = 0
    reordered: int = 0  # bytes, read and written
    numpy: float = 0.0
    ops: int = 0
    by_name: Counter[str] = field(default_factory=Counter)


@contextlib.contextmanager
def watching(library: Any) -> Iterator[Spent]:
    """Counts and times every op call, every primitive and every reorder of this process.

    library: oneDNN's, None for another engine.
    """
    spent = Spent()
    run_step, clock = record.Step.__call__, time.perf_counter
    running = Counter[str]()  # steps and reorders; a step may call others

    def step(self: record.Step) -> None:
        before = spent.primitive_calls, spent.reorders
        running["steps"] += 1
        started = clock()
        run_step(self)
        elapsed = clock() - started
        running["steps"] -= 1
        if running["steps"]:
            return
        spent.ops += 1
        spent.by_name[self.name] += elapsed  # type: ignore[assignment]
        # a layer that is called anew has its type as its name
        if spent.primitive_calls == before[0] and "." in self.name:
            spent.numpy += elapsed - (spent.reorders - before[1])

    def reorder(name: str) -> Any:
        original = getattr(BlockedLayout, name)

        def run(self: BlockedLayout, *arguments: Any) -> Any:
            running["reorders"] += 1
            started = clock()
            done = original(self, *arguments)
            elapsed = clock() - started
            running["reorders"] -= 1
            if done is not False:  # `convert` says so where it did nothing
                spent.reorders += elapsed
                spent.reorder_calls += 1
                arrays = [one for one in arguments if isinstance(one, np.ndarray)]
                spent.reordered += sum(array.nbytes for array in arrays)
            return done

        return mock.patch.object(BlockedLayout, name, run)

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(record.Step, "__call__", step))
        for name in ("load", "store", "convert"):
            patches.enter_context(reorder(name))
        if library is not None:
            execute = library.execute

            def timed(*arguments: Any) -> int:
                if running["reorders"]:
                    return int(execute(*arguments))
                started = clock()
                status: int = execute(*arguments)
                spent.primitives += clock() - started
                spent.primitive_calls += 1
                return status

            patches.enter_context(mock.patch.object(library, "execute", timed))
        started = clock()
        yield spent
        spent.total = clock() - started


@dataclass(frozen=True)
class Account:
    """A step's least work, and what took its time."""

    work: list[Work]
    spent: Spent

    def lines(self, ceilings: Ceilings) -> list[str]:
        """The account at the ceilings of the machine."""
        spent = self.spent
        flops, moved = (sum(one.flops for one in self.work), sum(one.moved for one in self.work))
        floor = sum(one.floor_ms(ceilings) for one in self.work)
        python = spent.total - spent.primitives - spent.reorders - spent.numpy
        rows = [
            ("products with weights", ceilings.compute_ms(flops), f"{flops / 1e9:.2f} Gflop"),
            ("arrays read and written", ceilings.memory_ms(moved), f"{moved / 1e6:.0f} MB"),
            ("floor, layer by layer", floor, f"{floor / spent.total / 10:.0f} % of the step"),
            ("the step", spent.total * 1e3, ""),
            ("- primitives", spent.primitives * 1e3, f"{spent.primitive_calls} calls"),
            (
                "- reorders",
                spent.reorders * 1e3,
                f"{spent.reorder_calls} calls, {spent.reordered / 1e6:.1f} MB",
            ),
            ("- numpy's ops", spent.numpy * 1e3, ""),
            (
                "- Python around them",
                python * 1e3,
                f"{spent.ops} op calls, {python * 1e6 / max(spent.ops, 1):.0f} us each",
            ),
        ]
        most = [
            f"{name} {seconds * 1e3:.2f}" for name, seconds in spent.by_name.most_common(MOST_NAMES)
        ]
        return [*(_line(*row) for row in rows), f"  most in: {', '.join(most)}"]


def account(step: OurStep) -> Account:
    """Of the quickest of some steps while they were watched, which takes about a microsecond per op
    call."""
    library = getattr(step.net.ops, "library", None)
    watched: list[Spent] = []
    while len(watched) < FEWEST_STEPS or sum(one.total for one in watched) < WATCHED_SECONDS:
        with watching(library) as spent:
            step()
        watched.append(spent)
    return Account(work_of(step), min(watched, key=lambda one: one.total))


def _line(name: str, ms: float, note: str) -> str:
    return f"  {name:<24}{ms:10.2f} ms  {note}".rstrip()
