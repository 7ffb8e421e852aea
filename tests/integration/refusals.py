"""What tests of refusals share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lmdb

from caffepy.proto.caffe_pb2 import Datum

Run = Callable[..., tuple[int, str]]


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def assert_refused(run: Run, wanted: str, *arguments: str, status: int = 1) -> None:
    """One paragraph that says `wanted` and ends with a remedy, and no file more or less."""
    before = files(Path())
    found, message = run(*arguments)
    assert found == status, message
    assert wanted in message, message
    assert "Traceback" not in message
    assert "a defect of caffepy itself" not in message
    if status == 1:
        assert message.startswith("caffepy: ")
        assert "\n" not in message
        assert message.endswith((".", "?"))
    assert files(Path()) == before


def record(height: int = 4, label: int = 0) -> bytes:
    image = Datum(channels=1, height=height, width=4, data=bytes(4 * height), label=label)
    return image.SerializeToString()


def make_lmdb(path: Path, records: dict[bytes, bytes]) -> None:
    with lmdb.open(str(path), map_size=1 << 20) as environment, environment.begin(write=True) as t:
        for key, value in records.items():
            t.put(key, value)
