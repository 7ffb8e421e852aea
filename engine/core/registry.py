"""The table from a layer's `type` string to its class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
                f"layer type '{layer_type}' is registered twice: by {known.__module__} and by "
                f"{cls.__module__}. Give one of them another name."
            )
        _classes[layer_type] = cls
        cls.type = layer_type
        return cls

    return register
