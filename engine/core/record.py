"""Recording op calls as Steps: what a Program is made of."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from caffepy.engine.core.value import Value

F = TypeVar("F", bound=Callable[..., None])


@dataclass(slots=True)
class Step:
    """One op call with its arguments bound: what it runs, and which values it touches.

    reads:   values whose content it needs (accumulated ones included)
    writes:  values it overwrites or changes
    adds:    the subset of writes it adds to
    op, method, arguments: the op object, which of its methods, and what it is called with, for
             passes that look for steps to run as one; op is None where it is no call of an op
    releases: values that it gives up
    """

    run: Callable[[], None]
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]
    adds: tuple[Value, ...] = ()
    layer: str = ""
    name: str = ""
    op: Any = None
    method: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    releases: tuple[Value, ...] = ()

    def __call__(self) -> None:
        self.run()
        for value in self.writes:
            if value.leased:
                value.settle()


@dataclass(slots=True)
class Recorder:
    """Collects the steps of one run; `layer` names the layer whose calls are coming in. deferred:
    the steps are not run as they come."""

    steps: list[Step] = field(default_factory=list)
    layer: str = ""
    deferred: bool = False


class Recording(Protocol):
    """What `recorded` needs of a backend."""

    recorder: Recorder | None


def recorded(
    ops: Recording, run: Callable[[], Any], layer: str = "", deferred: bool = False
) -> list[Step]:
    """Calls `run`, and returns its calls of ops as steps of the layer of that name.

    deferred: none of them has run then; the caller is to run them, in order.
    """
    recorder = ops.recorder = Recorder(layer=layer, deferred=deferred)
    try:
        run()
    finally:
        ops.recorder = None
    return recorder.steps


def joined(steps: Sequence[Step], run: Callable[[], None], op: Any = None) -> Step:
    """One step in place of several. op: what may take over the next one."""
    reads: dict[int, Value] = {}
    writes: dict[int, Value] = {}
    adds: dict[int, Value] = {}
    made: set[int] = set()
    for one in steps:
        reads.update((id(value), value) for value in one.reads if value.storage_id not in made)
        writes.update((id(value), value) for value in one.writes)
        adds.update((id(value), value) for value in one.adds)
        made.update(value.storage_id for value in one.writes)
    kinds = dict.fromkeys(
        type(one.op).__name__.removeprefix("OneDnn").removeprefix("Cuda")
        for one in steps[1:]
        if one.op
    )
    name = " and ".join((steps[0].name, *kinds))
    read, written, added = (tuple(found.values()) for found in (reads, writes, adds))
    released = tuple(value for one in steps for value in one.releases)
    return Step(run, read, written, added, layer_names(steps), name, op, releases=released)


def layer_names(steps: Iterable[Step]) -> str:
    """The names of the layers of several steps, each once: `conv1 + relu1`."""
    return " + ".join(dict.fromkeys(name for one in steps for name in one.layer.split(" + ")))


def step(*, reads: str = "", writes: str = "", adds: str = "") -> Callable[[F], F]:
    """Decorates an op's method: its calls run as Steps, and are recorded while a recorder is set.

    reads, writes, adds: names of the arguments that are read, overwritten and accumulated into.
    Each argument is a Value, a sequence of Values or None. The op has an attribute `ops`, the
    backend, whose `recorder` says whether to record. The decorated method has these names as its
    attribute `step_arguments`.
    """

    def decorate(method: F) -> F:
        parameters = list(inspect.signature(method).parameters)[1:]
        places = {name: index for index, name in enumerate(parameters)}
        read_names, written_names, added_names = reads.split(), writes.split(), adds.split()
        unknown = {*read_names, *written_names, *added_names} - places.keys()
        assert not unknown, f"{method.__qualname__} has no argument {unknown}"

        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> None:
            def values(names: Iterable[str]) -> tuple[Value, ...]:
                found: list[Value] = []
                for name in names:
                    place = places[name]
                    given = args[place] if place < len(args) else kwargs.get(name)
                    if isinstance(given, Value):
                        found.append(given)
                    elif given is not None:
                        found.extend(_members(given))
                return tuple(found)

            added = values(added_names)
            bound = Step(
                functools.partial(method, self, *args, **kwargs),
                values(read_names) + added,
                values(written_names) + added,
                added,
                name=f"{type(self).__name__}.{method.__name__}",
            )
            recorder = self.ops.recorder
            if recorder is not None:
                bound.layer = recorder.layer
                bound.op, bound.method = self, method.__name__
                bound.arguments = dict(zip(parameters, args, strict=False)) | kwargs
                recorder.steps.append(bound)
                if recorder.deferred:
                    return
            self.ops.recorder = None  # calls of other ops inside this one belong to this step
            try:
                with np.errstate(all="ignore"):  # nan and inf are numbers like others to an op
                    bound()
            finally:
                self.ops.recorder = recorder

        call.step_arguments = (reads, writes, adds)  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def _members(given: Sequence[Value | None]) -> list[Value]:
    return [value for value in given if value is not None]
