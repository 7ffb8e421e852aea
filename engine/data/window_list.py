"""Window files: images, and the windows in each of them that are samples."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError

LOG_EVERY = 100  # images
CHANNELS = 3  # files are decoded to
_COLUMNS = 6  # label, overlap, x1, y1, x2, y2
_OVERLAP = 1  # the one of them that need not be whole
_BOUND = 1 << 31
_DIGITS = 10  # of its counts and sizes, at most


class WindowList:
    """The images of a window file, and its windows, parted into foreground and background.

        # 0
        path/of/the/image.jpg
        3                       channels, height, width
        375
        500
        2                       windows, one a line:
        15 0.81 10 20 110 220   label, overlap with an object, x1, y1, x2, y2 (all inside)
        0 0.1 30 20 60 50

    Windows that overlap by fg_threshold or more are foreground, below bg_threshold background, with
    label 0; the others are not used.

    names: of the images.  foreground, background: (n, 7) int32: image, label, x1, y1, x2, y2, line
    (from 1).

    Raises: DataError where the file cannot be read or understood, naming the line.
    """

    def __init__(self, path: Path, fg_threshold: float, bg_threshold: float) -> None:
        self.path = path
        try:
            text = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path}: the window file cannot be read: {error.strerror}. Fix the path."
            ) from None
        self.names: list[str] = []
        self._lines = _Lines(path, text)
        foreground, background = [], []
        for windows, overlaps in self._images():
            in_front = overlaps >= np.float32(fg_threshold)
            behind = ~in_front & (overlaps < np.float32(bg_threshold))
            foreground.append(windows[in_front])
            background.append(windows[behind])
        self.foreground = _joined(foreground)
        self.background = _joined(background)
        self.background[:, 1] = 0
        wrong = self.foreground[self.foreground[:, 1] <= 0]
        if len(wrong):
            _, label, *_, line = wrong[0].tolist()
            raise DataError(
                f"{path}:{line}: expected a label of at least 1 for a foreground window, got "
                f"{label}. 0 is the background's: correct it, or the overlap."
            )

    def _images(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each image its windows, as in `foreground`, and their overlaps (n,) float32."""
        lines = self._lines
        while (head := lines.word_line()) is not None:
            index = len(self.names)
            mark, _, number = head.partition(b"#")
            if mark or number.strip() != b"%d" % index:
                raise lines.error(f"'# {index}', the image's number", head)
            name = lines.word_line()
            self.names.append(
                lines.wanted(name, "an image file").decode("utf-8", "surrogateescape")
            )
            channels, height, width, count = lines.integers(4)
            if channels != CHANNELS:
                raise lines.error(f"{CHANNELS} channels, as images are read", b"%d" % channels)
            rows, numbers = lines.table(count)
            windows = np.empty((count, 7), np.int32)
            windows[:, 0], windows[:, 6] = index, numbers
            windows[:, 1:6] = np.delete(rows, _OVERLAP, axis=1)
            if index % LOG_EVERY == 0:
                log.info(
                    f"num: {index} {self.names[-1]} {channels} {height} {width} windows to "
                    f"process: {count}"
                )
            yield windows, rows[:, _OVERLAP].astype(np.float32)


class _Lines:
    """The lines of a window file in turn. number: of the last one read, from 1."""

    def __init__(self, path: Path, text: bytes) -> None:
        self.path = path
        self.number = 0
        self._file = io.BytesIO(text)

    def word_line(self) -> bytes | None:
        """The next line that is not empty, without blanks around it; None at the end."""
        for line in self._file:
            self.number += 1
            if word := line.strip():
                return word
        return None

    def wanted(self, line: bytes | None, expected: str) -> bytes:
        """The line. Raises: DataError where there is none."""
        if line is None:
            raise self.error(expected, b"the end of the file")
        return line

    def integers(self, count: int) -> list[int]:
        """Whole numbers from 0 up, on as many lines as they take."""
        found: list[int] = []
        while len(found) < count:
            expected = "channels, height, width and the number of windows"
            words = self.wanted(self.word_line(), expected).split()
            if len(words) + len(found) > count or not all(map(_is_count, words)):
                raise self.error(expected, b" ".join(words))
            found += map(int, words)
        return found

    def table(self, count: int) -> tuple[np.ndarray, list[int]]:
        """(count, 6) float64: what the next lines say of windows; and the lines' numbers."""
        lines, numbers = list[bytes](), list[int]()
        for _ in range(count):
            lines.append(self.wanted(self.word_line(), f"{count} lines of windows"))
            numbers.append(self.number)
        rows = _rows(b" ".join(lines), count)
        if rows is None:
            wrong = next(index for index, line in enumerate(lines) if _rows(line, 1) is None)
            self.number = numbers[wrong]
            raise self.error("six numbers, whole but for the second (the overlap)", lines[wrong])
        return rows, numbers

    def error(self, expected: str, found: bytes) -> DataError:
        text = found[:100].decode("utf-8", "backslashreplace")
        return DataError(
            f"{self.path}:{self.number}: expected {expected}, got '{text}'. Correct the window "
            "file."
        )


def _is_count(word: bytes) -> bool:
    return word.isdigit() and len(word) <= _DIGITS


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty((0, 7), np.int32)


def _rows(text: bytes, count: int) -> np.ndarray | None:
    """(count, 6) float64: the numbers of that many windows; None where they are none."""
    try:
        rows = np.array(text.split(), np.float64).reshape(count, _COLUMNS)
    except ValueError:
        return None
    fits = (np.abs(rows) < _BOUND).all()  # nan does not
    return rows if fits and not (np.delete(rows, _OVERLAP, axis=1) % 1).any() else None
