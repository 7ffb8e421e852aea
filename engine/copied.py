"""What the blobs of a weights file became in a net: copied or not, and why not, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from caffepy.engine import table
from caffepy.engine.core.storage import Shape

COPIED = "copied"
DIFFERS = "skipped: shape differs"
NOT_IN_FILE = "not in file"
NOT_IN_NET = "not in the net"

_TITLES = ("layer", "blob", "in file", "in net", "")


@dataclass(frozen=True)
class BlobCopy:
    """One blob of a layer.

    layer: the layer's name.  blob: the blob's index in it, 0 for the weights.
    in_file, in_net: its shapes; None where it is missing.
    outcome: `copied`, `skipped: shape differs`, `not in file` or `not in the net`.
    """

    layer: str
    blob: int
    in_file: Shape | None
    in_net: Shape | None
    outcome: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        shapes = ("-" if shape is None else str(shape) for shape in (self.in_file, self.in_net))
        return (self.layer, str(self.blob), *shapes, self.outcome)


@dataclass(frozen=True, repr=False)
class CopyTable:
    """What was copied from a file into a net; printed, a table.

    rows: the blobs of the net in the order of its layers, then those that only the file has. A blob
    that a layer shares with an earlier one has a row where the file brings it.
    """

    rows: tuple[BlobCopy, ...]

    @property
    def copied(self) -> tuple[BlobCopy, ...]:
        """The rows of the blobs that were copied."""
        return tuple(row for row in self.rows if row.outcome == COPIED)

    def __iter__(self) -> Iterator[BlobCopy]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return "\n".join(table.printed([_TITLES, *(row.cells for row in self.rows)]))

    def _repr_html_(self) -> str:
        """The table as notebooks show it."""
        return table.html([row.cells for row in self.rows], head=_TITLES)
