"""A solver's parameters together with the file that they were read from."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from caffepy.engine.core.errors import PrototxtError
from caffepy.engine.solver.average_precision import VERSIONS
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import SolverParameter
from caffepy.proto.errors import did_you_mean
from caffepy.proto.overrides import Override, override_solver
from caffepy.proto.upgrade import complete_snapshot_prefix, upgrade_solver

EVAL_TYPES = ("classification", "detection")

# Fields of forks that would change what is learnt, each with the value that changes nothing.
_NOT_BUILT: dict[str, object] = {
    "adabelief": False,
    "amsgrad": False,
    "clamp_weights_lower": None,
    "clamp_weights_upper": None,
    "clip_weights": -1,
    "decoupled_wd_mult": None,
    "decoupled_wd_t0": None,
    "disabled_update": False,
    "gc": False,
    "larc_turbo": False,
    "lookahead": False,
    "lr_dropout": 1,
    "momentum_policy": "fixed",
    "rectified": False,
    "weight_decay_policy": "fixed",
}


@dataclass(frozen=True)
class Settings:
    """The parameters of a solver in today's form.

    path: the solver's file, where there is one.  index: where its fields stand.  overrides: what
    changed param, and is still to change the nets.
    """

    param: SolverParameter
    path: Path | None = None
    index: text.LineIndex | None = None
    overrides: tuple[Override, ...] = ()

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

    def overridden(self, overrides: Sequence[Override]) -> Settings:
        """These settings with single fields changed. Raises: PrototxtError."""
        if not overrides:
            return self
        param = SolverParameter()
        param.CopyFrom(self.param)
        if any(override.path == "solver_type" and not override.net for override in overrides):
            param.ClearField("type")  # the old form of the same
        param = upgrade_solver(override_solver(param, overrides))
        if self.path is not None:
            param = complete_snapshot_prefix(param, self.path)
        return replace(self, param=param, overrides=(*self.overrides, *overrides))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where relative files are looked for: the working directory, then the solver's folder."""
        return (Path(),) if self.path is None else (Path(), self.path.parent)

    def given(self, field: str) -> bool:
        """Whether the solver says anything about `field`."""
        return any(descriptor.name == field for descriptor, _ in self.param.ListFields())

    @property
    def asks_for_gpu(self) -> bool:
        """Whether solver_mode says GPU; that it is the field's default says nothing."""
        return self.given("solver_mode") and self.param.solver_mode == SolverParameter.GPU

    def where(self, field: str) -> str:
        """`solver.prototxt:4:1: stepsize`, for messages."""
        for override in reversed(self.overrides):
            if not override.net and override.path.split(".")[0] == field:
                return f"{override.where}: {field}"
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
        for field in ("base_lr", "momentum", "weight_decay"):
            if not math.isfinite(getattr(self.param, field)):
                self.refuse(
                    field,
                    f"expected a finite number, got {getattr(self.param, field):g}. Correct it.",
                )
        for descriptor, given in self.param.ListFields():
            if descriptor.cpp_type == descriptor.CPPTYPE_FLOAT:
                numbers = (given,) if isinstance(given, float) else given
                if any(math.isnan(number) for number in numbers):
                    self.refuse(descriptor.name, "expected a number, got nan. Correct it.")
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
        for field, known in (("eval_type", EVAL_TYPES), ("ap_version", VERSIONS)):
            if getattr(self.param, field) not in known:
                self.refuse_unknown(field, known)
        for field, neutral in _NOT_BUILT.items():
            if self.given(field) and getattr(self.param, field) != neutral:
                self.refuse(
                    field,
                    f"expected none, since this field of a fork's solvers is not implemented here, "
                    f"got {getattr(self.param, field)}. Remove it; Caffe has no such field.",
                )
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
