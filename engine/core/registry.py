"""The table from a layer's `type` string to its class."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from caffepy.engine.core.errors import NetError
from caffepy.engine.core.layer import Layer

L = TypeVar("L", bound=type[Layer])

_classes: dict[str, type[Layer]] = {}


class _Registry(Mapping[str, type[Layer]]):
    """Read-only view of the registered layers, by type."""

    def __getitem__(self, layer_type: str) -> type[Layer]:
        return _classes[layer_type]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_classes))

    def __len__(self) -> int:
        return len(_classes)


LAYERS: Mapping[str, type[Layer]] = _Registry()


def register_layer(layer_type: str) -> Callable[[L], L]:
    """Class decorator: makes a Layer available to prototxt under `layer_type`.

    Raises: NetError where the type is taken, naming both modules.
    """

    def register(cls: L) -> L:
        known = _classes.get(layer_type)
        if known is not None:
            raise NetError(
                f"layer type '{layer_type}' is registered twice: by {_home(known)} and by "
                f"{_home(cls)}. Give one of them another name."
            )
        _classes[layer_type] = cls
        cls.type = layer_type
        return cls

    return register


@contextmanager
def registering() -> Iterator[list[str]]:
    """Puts the types that are registered inside into the list that it gives; takes them back where
    something fails."""
    before = dict(_classes)
    added: list[str] = []
    try:
        yield added
    except BaseException:
        _classes.clear()
        _classes.update(before)
        raise
    added += sorted(_classes.keys() - before.keys())


def _home(cls: type[Layer]) -> str:
    """The module of a class, with its file."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return f"{cls.__module__} ('{file}')" if file else cls.__module__
