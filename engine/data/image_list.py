"""Lists of images: text files with an image file and a label on each line."""

from __future__ import annotations

import io
import re
from array import array
from pathlib import Path

import numpy as np

from caffepy.engine.core.errors import DataError

MAX_LABEL = (1 << 31) - 1
BOM = b"\xef\xbb\xbf"
_WHOLE = re.compile(rb"[+-]?[0-9]{1,18}(\.0*)?")  # numpy writes 3 as 3.0


class ImageList:
    """The images of a list, in order; the label is what follows the last blank of a line.

    Empty lines, blanks around names and labels, and the marks that other systems put into text
    files (CRLF, a byte order mark) do not count. The text is kept as it is, so that millions of
    lines take little more memory than their file.

    labels: (number of images,) int32.

    Raises: DataError where the list cannot be read, a line has no label that is a whole number, or
    there is no line at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._text = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path}: the list cannot be read: {error.strerror}. Fix the path."
            ) from None
        if b"\0" in self._text:
            raise DataError(
                f"{path}: expected lines of text, got a file with zero bytes. Save it as UTF-8, "
                "and give the list, not an image or a database."
            )
        starts, lengths, labels, lines = array("q"), array("i"), array("i"), array("i")
        place = len(BOM) if self._text.startswith(BOM) else 0
        with io.BytesIO(self._text) as file:
            file.seek(place)
            for number, line in enumerate(file, start=1):
                entry = line.strip()
                if entry:
                    name, label = self._cut(entry, number)
                    starts.append(place + len(line) - len(line.lstrip()))
                    lengths.append(len(name))
                    labels.append(label)
                    lines.append(number)
                place += len(line)
        if not labels:
            raise DataError(
                f"{path}: expected lines of a file name and a label, got none. Fill the list."
            )
        self.labels: np.ndarray = np.frombuffer(labels, np.intc)
        self._starts, self._lengths, self._lines = starts, lengths, lines

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """The image's file name as the list has it; bytes that are no UTF-8 become surrogates."""
        start = self._starts[index]
        name = self._text[start : start + self._lengths[index]]
        return name.decode("utf-8", "surrogateescape")

    def line(self, index: int) -> int:
        """The number of the image's line, from 1."""
        return self._lines[index]

    def _cut(self, entry: bytes, number: int) -> tuple[bytes, int]:
        """Name and label of a line."""
        if b"\t" in entry:
            cut = max(entry.rfind(b" "), entry.rfind(b"\t"))
            name, text = entry[: max(cut, 0)], entry[cut + 1 :]
        else:
            name, _, text = entry.rpartition(b" ")
        name = name.rstrip()
        if name and _WHOLE.fullmatch(text):
            label = int(text.partition(b".")[0])
            if -MAX_LABEL <= label <= MAX_LABEL:
                return name, label
        line = entry[:100].decode("utf-8", "backslashreplace")
        raise DataError(
            f"{self.path}:{number}: expected a file name, a blank and a whole number as label "
            f"(up to {MAX_LABEL}), got '{line}'. Fix the line; for labels that are no whole "
            "numbers write an HDF5 file."
        )
