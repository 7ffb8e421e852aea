"""LossWindow."""

from __future__ import annotations

import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.solver.loss_window import LossWindow


def scalar(number: float) -> Value:
    value = Value()
    value.write()[...] = number
    return value


def filled(window: LossWindow, losses: list[float]) -> LossWindow:
    for loss in losses:
        window.begin()
        window.add(scalar(loss))
    return window


def test_the_mean_is_over_the_newest_losses(ops: Ops) -> None:
    window = filled(LossWindow(ops, 3), [100, 1, 2])
    assert window.mean() == pytest.approx(103 / 3)
    filled(window, [3])
    assert window.mean() == 2
    assert window.last() == 3


def test_a_loss_is_the_mean_of_its_batches(ops: Ops) -> None:
    window = LossWindow(ops, 2)
    window.begin()
    for loss in (1, 2, 6):
        window.add(scalar(loss))
    assert window.last() == 3


def test_a_restored_window_goes_on_as_if_nothing_had_happened(ops: Ops) -> None:
    old = filled(LossWindow(ops, 3), [1, 2, 3, 4])
    new = LossWindow(ops, 3)
    new.restore(old.state())
    assert new.state() == [(2, 1), (3, 1), (4, 1)]
    assert filled(new, [5, 6]).state() == filled(old, [5, 6]).state() == [(4, 1), (5, 1), (6, 1)]


def test_a_restored_loss_of_three_batches_has_the_same_bits(ops: Ops) -> None:
    old, new = LossWindow(ops, 1), LossWindow(ops, 1)
    old.begin()
    for loss in (0.1, 0.2, 0.3):
        old.add(scalar(loss))
    new.restore(old.state())
    assert new.mean() == old.mean()


def test_a_smaller_window_keeps_the_newest(ops: Ops) -> None:
    window = LossWindow(ops, 2)
    window.restore([(1, 1), (2, 1), (6, 2)])
    assert window.state() == [(2, 1), (6, 2)]
    assert window.mean() == 2.5
