"""Memory that ops on a GPU use in turn."""

from __future__ import annotations

import numpy as np

from caffepy.engine.ops.cuda.workspace import Workspace


def test_ops_share_what_the_largest_needs() -> None:
    workspace = Workspace(np.float32)
    workspace.reserve("first", 5)
    workspace.reserve("first", 3)
    workspace.reserve("second", 1)
    first = workspace.take("first")
    assert first.count == 5
    assert workspace.take("first") is first
    assert workspace.take("second").count == 1


def test_values_that_are_too_small_stay_for_recorded_work() -> None:
    workspace = Workspace(np.float64)
    counts = []
    for need in (10, 11, 20, 50):
        workspace.reserve("first", need)
        counts.append(workspace.take("first").count)
    assert counts == [10, 20, 20, 50]
    assert sum(value.count for value in workspace._values["first"]) <= 2 * 50
