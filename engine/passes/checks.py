"""What a partial pass over the layers of a net may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from caffepy.engine.core.errors import NetError
from caffepy.engine.core.layer import Layer


def check_range(layers: Sequence[Layer], what: str, first: int, last: int) -> None:
    """Raises: NetError where a pass is to begin or end at a layer that does not exist."""
    if min(first, last + 1) < 0 or max(first, last + 1) > len(layers):
        raise NetError(
            f"{what}: expected indices of the net's {len(layers)} layers, got {first} to {last}. "
            "Look them up in `layers`."
        )


def check_ran(layers: Sequence[Layer], needed: Iterable[int], ran: set[int]) -> None:
    """Raises: NetError where one of the layers needed in a backward pass has not run forward.

    needed, ran: indices of layers.
    """
    for index in needed:
        if index not in ran:
            raise NetError(
                f"{layers[index].where}: backward: expected a forward pass through the layer "
                "before, got none. Run forward first."
            )


def check_keeps_data(net: str, given_up: Sequence[object]) -> None:
    """Raises: NetError where a net that gives up its data as it runs is to run backward."""
    if given_up:
        raise NetError(
            f"net '{net}': backward: expected a net that keeps its data, got one that gives them "
            "up as it runs. Make it with keep=True."
        )
