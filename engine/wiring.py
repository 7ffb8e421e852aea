"""Which layers and blobs need a backward pass: Caffe's rules, as a function of the net's graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Node:
    """A layer as these rules see it.

    bottom, top: blob names.  propagate_down: the prototxt's, empty where not given.
    learns: whether any parameter has lr_mult other than 0.  loss: per top, whether it has a loss
    weight.
    may_force: per bottom, whether force_backward may reach it.
    """

    bottom: Sequence[str]
    top: Sequence[str]
    propagate_down: Sequence[bool]
    learns: bool
    loss: Sequence[bool]
    may_force: Sequence[bool]


@dataclass
class BackwardNeeds:
    """Per layer: whether backward runs, and for which bottoms it fills the diff."""

    layers: list[bool] = field(default_factory=list)
    bottoms: list[list[bool]] = field(default_factory=list)


def backward_needs(nodes: Sequence[Node], force_backward: bool) -> BackwardNeeds:
    """Forward through the layers: a blob needs a gradient when something before it learns. Then
    back through them: only what lies under a loss, and is not cut off by propagate_down, keeps the
    need.
    force_backward overrides both."""
    needs = BackwardNeeds()
    learning: dict[str, bool] = {}
    for node in nodes:
        bottoms = [learning[name] for name in node.bottom]
        layer_needs = node.learns or any(bottoms)
        needs.bottoms.append(list(node.propagate_down) if node.propagate_down else bottoms)
        needs.layers.append(layer_needs)
        for name in node.top:
            learning[name] = layer_needs or (name in node.bottom and learning.get(name, False))

    under_loss: set[str] = set()
    cut_off: set[str] = set()
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        contributes = any(
            loss or name in under_loss for name, loss in zip(node.top, node.loss, strict=True)
        )
        if needs.layers[index] and all(name in cut_off for name in node.top):
            needs.layers[index] = False
            needs.bottoms[index] = [False] * len(node.bottom)
        if not contributes:
            needs.layers[index] = False
        for place, name in enumerate(node.bottom):
            if contributes:
                under_loss.add(name)
            else:
                needs.bottoms[index][place] = False
            if not needs.bottoms[index][place]:
                cut_off.add(name)

    if force_backward:
        for index, node in enumerate(nodes):
            needs.layers[index] = True
            needs.bottoms[index] = [
                need or may for need, may in zip(needs.bottoms[index], node.may_force, strict=True)
            ]
    return needs
