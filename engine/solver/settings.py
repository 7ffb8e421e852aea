"""A solver's parameters together with the file that they were read from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from caffepy.engine.core.errors import PrototxtError
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import SolverParameter
from caffepy.proto.errors import did_you_mean
from caffepy.proto.upgrade import complete_snapshot_prefix, upgrade_solver


@dataclass(frozen=True)
class Settings:
    """The parameters of a solver in today's form.

    path: the solver's file, where there is one.  index: where its fields stand.
    """

    param: SolverParameter
    path: Path | None = None
    index: text.LineIndex | None = None

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Settings:
        """The solver in a prototxt file, upgraded. Raises: PrototxtError."""
        param, index = text.read_indexed(path, SolverParameter)
        try:
            param = upgrade_solver(param)
        except PrototxtError as error:
            raise PrototxtError(f"{os.fspath(path)}: {error}") from None
        param = complete_snapshot_prefix(param, path)
        return Settings(param, Path(path), index)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where relative files are looked for: the working directory, then the solver's folder."""
        return (Path(),) if self.path is None else (Path(), self.path.parent)

    def given(self, field: str) -> bool:
        """Whether the solver says anything about `field`."""
        return any(descriptor.name == field for descriptor, _ in self.param.ListFields())

    def where(self, field: str) -> str:
        """`solver.prototxt:4:1: stepsize`, for messages."""
        if self.index is not None and self.given(field):
            return f"{self.index.where((field, 0))}: {field}"
        return f"{self.path or 'solver'}: {field}"

    def refuse(self, field: str, problem: str) -> NoReturn:
        """Raises: PrototxtError about one field."""
        raise PrototxtError(f"{self.where(field)}: {problem}")

    def refuse_unknown(self, field: str, known: Iterable[str]) -> NoReturn:
        """Raises: PrototxtError where a field names something that does not exist."""
        name, known = getattr(self.param, field), sorted(known)
        self.refuse(
            field,
            f"expected one of {', '.join(known)}, got '{name}'."
            f"{did_you_mean(name, known) or ' Use one of these.'}",
        )

    def check(self) -> None:
        """Refuses what makes no sense for any solver. Raises: PrototxtError."""
        for field in ("average_loss", "iter_size"):
            if getattr(self.param, field) < 1:
                self.refuse(
                    field, f"expected at least 1, got {getattr(self.param, field)}. Leave it out."
                )
        for batches in self.param.test_iter:
            if batches < 1:
                self.refuse("test_iter", f"expected at least 1, got {batches}. Correct it.")
        if self.param.regularization_type not in ("L1", "L2"):
            self.refuse_unknown("regularization_type", ("L1", "L2"))
        if self.param.snapshot:
            if not self.param.snapshot_prefix:
                self.refuse(
                    "snapshot_prefix",
                    f"expected one, since snapshot is {self.param.snapshot}, got none. Give the "
                    "path and the beginning of the snapshots' names.",
                )
            self.check_snapshot_folder()

    def check_snapshot_folder(self) -> None:
        """Refuses a snapshot_prefix in a folder that cannot take files. Raises: PrototxtError."""
        folder = Path(self.param.snapshot_prefix).parent
        if not folder.is_dir():
            self.refuse("snapshot_prefix", f"folder '{folder}' does not exist. Make it first.")
        if not os.access(folder, os.W_OK):
            self.refuse(
                "snapshot_prefix", f"folder '{folder}' cannot be written to. Name another one."
            )
