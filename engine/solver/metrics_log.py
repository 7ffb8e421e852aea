"""MetricsLog: losses, rates and test results as lines of JSON, beside the snapshots."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from caffepy.engine.core import log
from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.files import written_whole
from caffepy.engine.solver.callbacks import Callback, TestResult, Training
from caffepy.engine.solver.scores import Output, outputs
from caffepy.engine.solver.speed import Speed, images_per_iteration

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = "metrics.jsonl"
_BEGINNING = b'{"run": "'  # of each line of ours


class MetricsLog(Callback):
    """Writes a line into `metrics.jsonl`, in the folder of the snapshots, at each display and test.

    Keys: run (the last part of snapshot_prefix), iteration, phase (train or test), test_net (its
    number), loss, lr, outputs (a number for each name, a list for several), seconds (since this
    process began to train), images_per_s (since the last display). What is not known is null; nan
    and infinity are the strings nan, inf, -inf.

    Runs of several prefixes share the file. A run that starts takes its own old lines away, one
    that resumes those from its iteration on, so that a run that was killed leaves the lines of an
    unbroken one but for the times. What fails to be written is warned of once.
    """

    def __init__(self) -> None:
        self._file: MetricsFile | None = None
        self._run = ""
        self._began = 0.0
        self._speed = Speed()

    def on_start(self, solver: Training) -> None:
        prefix = solver.settings.param.snapshot_prefix
        self._run = os.path.basename(prefix)
        self._file = MetricsFile(Path(os.path.dirname(prefix)) / NAME)
        self._file.remove(self._run, solver.iteration)
        self._began = time.perf_counter()
        self._speed.start(solver.iteration)

    def on_displayed(self, solver: Training, loss: float, rate: float | None) -> None:
        speed = self._speed.take(solver.iteration)
        images = images_per_iteration(solver.net, solver.settings.param.iter_size)
        shown = outputs(solver.net)
        per_second = None if speed is None or images is None else speed * images
        self._write(solver.iteration, "train", None, loss, rate, shown, per_second)

    def on_tested(self, solver: Training, result: TestResult) -> None:
        weighted = [output.weighted for output in result.outputs if output.loss_weight]
        loss = result.loss
        if loss is None and weighted:
            loss = sum(weighted)
        self._write(result.iteration, "test", result.net, loss, None, result.outputs, None)

    def _write(
        self, iteration: int, phase: str, test_net: int | None, loss: float | None,
        rate: float | None, shown: Sequence[Output], images_per_s: float | None,
    ) -> None:  # fmt: skip
        if self._file is None:
            return
        record = {
            "run": self._run,
            "iteration": iteration,
            "phase": phase,
            "test_net": test_net,
            "loss": loss,
            "lr": rate,
            "outputs": _by_name(shown),
            "seconds": time.perf_counter() - self._began,
            "images_per_s": images_per_s,
        }
        self._file.append(record)


class MetricsFile:
    """Lines of JSON that several processes may write to. Failures are warned of once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned = False

    def append(self, record: dict[str, Any]) -> None:
        """Adds one line, whole or not at all."""
        line = json.dumps(_strict(record), allow_nan=False).encode() + b"\n"
        try:
            with self._locked() as file:
                end = _end_of_lines(file)
                try:
                    while line:  # the system may take a part
                        line = line[file.write(line) :]
                except OSError:
                    file.truncate(end)
                    raise
        except OSError as error:
            self._warn(error.strerror or str(error))

    def remove(self, run: str, iteration: int) -> None:
        """Takes away the lines of a run from an iteration on, and half a line at the end."""
        try:
            if not self.path.exists():
                return
            with self._locked() as file:
                data = file.read()
                kept = b"".join(_kept(data, run, iteration))
                if fcntl is None:
                    file.close()  # Windows replaces no file that is open
                if kept != data:
                    with written_whole(self.path) as temporary:
                        temporary.write_bytes(kept)
        except OSError as error:
            self._warn(error.strerror or str(error))
        except CaffepyError as error:
            self._warn(str(error))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, opened without a buffer, that no other process writes to meanwhile."""
        while True:
            with open(self.path, "ab+", buffering=0) as file:
                if fcntl is not None:
                    with contextlib.suppress(OSError):  # some network file systems have no locks
                        fcntl.flock(file, fcntl.LOCK_EX)
                    if not os.path.exists(self.path) or not os.path.samestat(
                        os.fstat(file.fileno()), os.stat(self.path)
                    ):
                        continue  # replaced while we waited
                file.seek(0)
                yield file
                return

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                f"{self.path}: cannot be written: {reason}. Training goes on without these lines; "
                "check the folder, its rights and the free space."
            )


def _kept(data: bytes, run: str, iteration: int) -> Iterator[bytes]:
    """The lines to keep of a file's content; those that are not ours stay as they are."""
    *lines, last = data.split(b"\n")
    if last and not _is_half(last):
        lines.append(last)
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and record.get("run") == run:
            place = record.get("iteration")
            if isinstance(place, int) and place >= iteration:
                continue
        yield line + b"\n"


def _is_half(line: bytes) -> bool:
    """Whether a last line without line end is one of ours whose process was killed amid it."""
    try:
        json.loads(line)
    except ValueError:
        return line.startswith(_BEGINNING[: len(line)])
    return False


def _end_of_lines(file: BinaryIO) -> int:
    """Where the next line is to start; takes half a line away that a killed process left there."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(end - 1, 0))
    if file.read(1) in (b"", b"\n"):
        return end
    file.seek(0)
    *_, last = file.read().split(b"\n")
    if _is_half(last):
        return file.truncate(end - len(last))
    file.write(b"\n")
    return end + 1


def _by_name(shown: Sequence[Output]) -> dict[str, float | list[float]]:
    values: dict[str, list[float]] = {}
    for output in shown:
        values.setdefault(output.name, []).append(output.value)
    return {name: found if len(found) > 1 else found[0] for name, found in values.items()}


def _strict(item: Any) -> Any:
    """The same with strings for numbers that JSON does not have."""
    if isinstance(item, dict):
        return {key: _strict(value) for key, value in item.items()}
    if isinstance(item, list):
        return [_strict(value) for value in item]
    if isinstance(item, float) and not math.isfinite(item):
        return str(item)
    return item
