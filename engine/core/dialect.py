"""A layer type that means different things in different forks: which of them is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffepy.engine.core import log
from caffepy.proto.dialects import FORK_OF

if TYPE_CHECKING:
    from caffepy.engine.core.layer import Layer


@dataclass(frozen=True)
class Reading:
    """What a type means in one fork.

    meaning: in a few words.  sign: what to write into the layer to say that this is meant.
    """

    meaning: str
    sign: str


def meant(layer: Layer, readings: Mapping[str, Reading], evident: str = "", usual: str = "") -> str:
    """The dialect whose meaning a layer's type has, a key of `readings`.

    evident: the one that the layer's block, bottoms or parameters show, if they show any; it wins
    over the net's dialect.  usual: the one to take, with a warning, where nothing says which.

    Raises: NetError where nothing says which, and none is usual: it names all.
    """
    if evident:
        return evident
    if layer.context.dialect in readings:
        return layer.context.dialect
    told = " or ".join(
        f"{reading.meaning}, as in {FORK_OF[name]} (write {reading.sign}, or give --dialect {name})"
        for name, reading in readings.items()
    )
    if not usual:
        layer.error(
            f"the type '{layer.type}' has several meanings, and nothing says which: expected "
            f"{told}. Write or give one of these."
        )
    log.warning(
        f"{layer.where}: the type '{layer.type}' has several meanings, and nothing says which: "
        f"{told}. Taken as in {FORK_OF[usual]}, as is usual."
    )
    return usual
