"""Lists of images and annotations: text files with the names of both on each line."""

from __future__ import annotations

from pathlib import Path

from caffepy.engine.core.errors import DataError
from caffepy.engine.data.image_list import BOM


class AnnotationList:
    """An image file and an annotation file on each line, with a blank between them, or with a tab
    where names have blanks.

    Raises: DataError where the list cannot be read, a line has other than two names, or there is no
    line at all.
    """

    def __init__(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path}: the list cannot be read: {error.strerror}. Fix the path."
            ) from None
        self._names: list[tuple[str, str, int]] = []  # image, annotation, line
        text = data.removeprefix(BOM).decode("utf-8", "surrogateescape")
        for number, line in enumerate(text.split("\n"), start=1):
            entry = line.strip()
            if not entry:
                continue
            names = [name.strip() for name in entry.split("\t" if "\t" in entry else None)]
            if len(names) != 2:
                shown = entry[:100].encode("utf-8", "backslashreplace").decode()
                raise DataError(
                    f"{path}:{number}: expected an image file, a blank and an annotation file, got "
                    f"'{shown}'. Fix the line; where names have blanks, put a tab between them."
                )
            self._names.append((names[0], names[1], number))
        if not self._names:
            raise DataError(
                f"{path}: expected lines of an image file and an annotation file, got none. Fill "
                "the list."
            )

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """The image's file name as the list has it; bytes that are no UTF-8 become surrogates."""
        return self._names[index][0]

    def annotation(self, index: int) -> str:
        """The annotation's file name, as `name`."""
        return self._names[index][1]

    def line(self, index: int) -> int:
        """The number of the image's line, from 1."""
        return self._names[index][2]
