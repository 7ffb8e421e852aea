"""The exceptions of reading and writing Caffe files, and how an error names its place.

    CaffepyError
      PrototxtError    a prototxt that cannot be read, or says what cannot be
      WeightsError     a binary file that does not hold what it should

engine/core/errors.py continues the tree. The form is `where: what: expected, got. remedy.`
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # this module is imported with the package; protobuf is loaded when needed
    from caffepy.proto import caffe_pb2 as pb


class CaffepyError(RuntimeError):
    """Anything that the user's files or settings cause. pycaffe raises RuntimeErrors, which scripts
    catch."""


class PrototxtError(CaffepyError):
    """A prototxt that cannot be read, or says what cannot be."""


class WeightsError(CaffepyError):
    """A binary file that does not hold what it should."""


def place(layer: pb.LayerParameter | pb.V1LayerParameter) -> str:
    """Where a layer stands: `lenet.prototxt:42: layer 'pool1' (Pooling)`."""
    name: str = layer.name
    kind: Any = layer.type
    if not isinstance(kind, str):  # V1: an enum value; V0: name and type are one message deeper
        old: Any = layer
        name = name or old.layer.name
        kind = old.layer.type or (old.LayerType.Name(kind) if layer.HasField("type") else "")
    what = f"layer '{name}' ({kind})" if kind else f"layer '{name}'"
    if not layer.source_file:
        return what
    line = f":{layer.source_line}" if layer.source_line else ""
    return f"{layer.source_file}{line}: {what}"


def type_place(layer: pb.LayerParameter) -> str:
    """Where a layer's type stands: `lenet.prototxt:44:9: layer 'pool1'`."""
    return f"{layer.source_type}: layer '{layer.name}'" if layer.source_type else place(layer)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing where no known word is near."""
    known = list(known)
    # neither the ending nor the case of letters is a likeness
    names = {name.removesuffix("_param").lower(): name for name in known}
    near = difflib.get_close_matches(word.removesuffix("_param").lower(), names, n=1, cutoff=0.7)
    if not near:  # but the ending itself may be misspelt
        names = {name.lower(): name for name in known}
        near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.9)
    return f" Did you mean '{names[near[0]]}'?" if near else ""
