"""What the options say that nets run on."""

from __future__ import annotations

from typing import Any

import click
import pytest

from caffepy.engine.ops import select
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.tools.engine_choice import EngineChoice


def choice(**given: Any) -> EngineChoice:
    options = {"engine": "auto", "threads": None, "gpu": None, "precision": "tf32"}
    return EngineChoice(**{**options, "deterministic": False, "cache": None, **given})


def test_a_data_set_is_kept_on_a_gpu_only() -> None:
    with pytest.raises(click.UsageError, match=r"--cache device: expected a GPU .* add --gpu 0"):
        choice(cache="device").make_ops()


@pytest.mark.parametrize("cache", [None, "device"])
def test_the_gpu_engine_is_told_to_keep_data(
    cache: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def make(*arguments: Any, **options: Any) -> NumpyOps:
        asked.update(options)
        return NumpyOps()

    monkeypatch.setattr(select, "make_gpu_ops", make)
    choice(gpu="0", cache=cache).make_ops()
    assert asked["keep_data"] is (cache == "device")
