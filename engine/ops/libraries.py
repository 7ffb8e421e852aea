"""Finding the shared libraries that come in wheels."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path


def candidates(wheels: Sequence[str], file_names: Sequence[str]) -> Iterator[str]:
    """Paths and names under which a library may be: in the installed wheels first, then bare file
    names, for the system's loader."""
    for wheel in wheels:
        try:
            files = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        installed = {file.name: file for file in files}
        for name in file_names:
            if name in installed:
                yield str(Path(str(installed[name].locate())).resolve())
    yield from file_names
