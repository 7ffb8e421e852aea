"""The numbers in a training log, caffepy's or Caffe's."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# A date with or without its year, month, day, hour, minute, second, fraction: glog's, old and new.
_TIME = re.compile(r"[IWEF](\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):(\d\d\.\d+) ")
_ITERATION = re.compile(r"\] Iteration (\d{1,18})\b")
_LOSS = re.compile(r"\] Iteration (\d{1,18})\b.*, loss = (\S+)")
_RATE = re.compile(r"\] Iteration (\d{1,18}), lr = (\S+)")
_TESTING = re.compile(r"\] Iteration (\d{1,18}), Testing net \(#(\d{1,18})\)")
_OUTPUT = re.compile(r"\]\s+(Train|Test) net output #\d+: (\S+) = (\S+)")


@dataclass
class Series:
    """Numbers against iterations, and against seconds since the run began, nan where the log does
    not tell."""

    iterations: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, iteration: int, number: str, seconds: float) -> None:
        """Appends a point; what is no number is nan."""
        self.iterations.append(iteration)
        self.numbers.append(parsed(number))
        self.seconds.append(seconds)


@dataclass(frozen=True)
class Output:
    """A line that tells of an output. rate: the learning rate told last."""

    phase: str
    name: str
    number: float
    iteration: int
    seconds: float
    rate: float


@dataclass
class LogTable:
    """What a log says: the displayed loss, the learning rate, train outputs by name, test outputs
    by test net and name, and all outputs in the order of their lines."""

    loss: Series = field(default_factory=Series)
    rate: Series = field(default_factory=Series)
    train: dict[str, Series] = field(default_factory=dict)
    test: dict[tuple[int, str], Series] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)


class _Clock:
    """Seconds since the line that says that solving begins, or the first one.

    year: of the beginning, where lines do not tell it.
    """

    def __init__(self, year: int) -> None:
        self._year = year
        self._month = 0
        self._start: datetime.datetime | None = None
        self._solving = False

    def seconds(self, line: str) -> float:
        """nan where a line has no time."""
        found = _TIME.match(line.lstrip())
        if not found:
            return math.nan
        year, month, day, hour, minute = (int(part or 0) for part in found.groups()[:5])
        if month < self._month and not year:
            self._year += 1
        self._month = month
        try:
            now = datetime.datetime(year or self._year, month, 1)
            now += datetime.timedelta(day - 1, float(found[6]), minutes=minute, hours=hour)
        except (ValueError, OverflowError):  # no month, or after the last year
            return math.nan
        if self._start is None or ("Solving" in line and not self._solving):
            self._start = now
            self._solving = "Solving" in line
        return (now - self._start).total_seconds()


def open_log(log_file: str) -> LogTable:
    """The numbers of a log file. Raises: DataError where it cannot be read or has none."""
    from caffepy.engine.core.errors import DataError

    try:
        changed = Path(log_file).stat().st_ctime
        with Path(log_file).open(encoding="utf-8", errors="replace") as lines:
            table = read_log(lines, datetime.datetime.fromtimestamp(changed).year)
    except OSError as error:
        raise DataError(
            f"{log_file}: cannot be read: {error.strerror}. Give the file that the output of "
            "`caffepy train` (stderr) was written to."
        ) from error
    if not table.loss.iterations and not table.outputs:
        raise DataError(
            f"{log_file}: expected a training log, got no line `Iteration N, loss = x`. Give the "
            "file that the output of `caffepy train` (stderr) was written to."
        )
    return table


def read_log(lines: Iterable[str], year: int = 2000) -> LogTable:
    """Collects the numbers of a log's lines; other lines are passed over. year: as in `_Clock`."""
    table, clock = LogTable(), _Clock(year)
    iteration, test_net, rate = 0, 0, math.nan
    for line in lines:
        seconds = clock.seconds(line)
        if found := _TESTING.search(line):
            iteration, test_net = int(found[1]), int(found[2])
        elif found := _RATE.search(line):
            table.rate.add(int(found[1]), found[2], seconds)
            rate = table.rate.numbers[-1]
        elif found := _LOSS.search(line):
            iteration = int(found[1])
            table.loss.add(iteration, found[2], seconds)
        elif found := _ITERATION.search(line):
            iteration = int(found[1])
        elif found := _OUTPUT.search(line):
            phase, name, number = found.groups()
            if phase == "Train":
                series = table.train.setdefault(name, Series())
            else:
                series = table.test.setdefault((test_net, name), Series())
            series.add(iteration, number, seconds)
            told = Output(phase.lower(), name, parsed(number), iteration, seconds, rate)
            table.outputs.append(told)
    return table


def rows(outputs: Iterable[Output], phase: str) -> list[dict[str, float]]:
    """One row for each iteration, as tools/extra/parse_log.py of Caffe makes them: NumIters,
    Seconds, LearningRate (the one told last before the row), and the outputs by name.

    As there, a row is full when it has as many columns as the first, the first row's rate is the
    second's where none was told, and a last row that is not full is left out. Differs: of a log
    with one row only, that row is given.
    """
    table = list(_rows(output for output in outputs if output.phase == phase))
    if len(table) > 1:
        table[0]["LearningRate"] = table[1]["LearningRate"]
    return table


def _rows(outputs: Iterable[Output]) -> Iterator[dict[str, float]]:
    row: dict[str, float] = {}
    full = 0
    for output in outputs:
        if not row or row["NumIters"] != output.iteration:
            if row:
                full = full or len(row)
                yield row
            row = {
                "NumIters": float(output.iteration),
                "Seconds": output.seconds,
                "LearningRate": output.rate,
            }
        row[output.name] = output.number
        if len(row) == full:
            yield row
            row = {}
    if row and not full:
        yield row


def parsed(number: str) -> float:
    """nan for what is no number."""
    try:
        return float(number)
    except ValueError:
        return math.nan
