"""Reading and writing prototxt.

    net = text.read("train_val.prototxt", pb.NetParameter)
    net, index = text.read_indexed("train_val.prototxt", pb.NetParameter)
    print(text.write(net))

Read as Caffe reads it, and besides: any encoding and line end, enum names in quotes, Windows paths
with single backslashes ("C:\\data\\new"), and unknown `..._param { }` blocks in layers, which
`LayerParameter.unknown_param` keeps. Anything else unknown is an error with file, line and column.
"""

from __future__ import annotations

import os
from typing import TypeVar

from google.protobuf.message import Message

from caffepy.proto import printer
from caffepy.proto.builder import Builder, LineIndex
from caffepy.proto.errors import PrototxtError
from caffepy.proto.fields import strip_notes
from caffepy.proto.scan import Scan, decode

__all__ = ["LineIndex", "parse", "read", "read_indexed", "strip_notes", "write"]

M = TypeVar("M", bound=Message)


def read(path: str | os.PathLike[str], message_class: type[M]) -> M:
    """The message in a prototxt file. Raises: PrototxtError."""
    return read_indexed(path, message_class)[0]


def read_indexed(path: str | os.PathLike[str], message_class: type[M]) -> tuple[M, LineIndex]:
    """The message in a prototxt file, and where each field stands. Raises: PrototxtError."""
    source = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise PrototxtError(f"{source}: there is no such file. Fix the path.") from None
    except IsADirectoryError:
        raise PrototxtError(
            f"{source}: expected a prototxt file, got a folder. Name the file in it."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise PrototxtError(
            f"{source}: cannot be read: {error}. Check the path and its rights."
        ) from None
    scan = Scan(decode(data, source), source)
    if len(scan.tokens) == 1:
        raise PrototxtError(
            f"{source}: expected a prototxt, got a file that is empty or holds only comments. Fix "
            "the path, or fill the file."
        )
    return _build(scan, message_class)


def parse(data: bytes | str, message_class: type[M], source: str = "<text>") -> M:
    """The message in a text. source: what errors call it. Raises: PrototxtError."""
    text = data if isinstance(data, str) else decode(data, source)
    return _build(Scan(text, source), message_class)[0]


def write(message: Message) -> str:
    """A message as text, with the unknown blocks as they were, without notes of file and line."""
    return "".join(printer.lines(message))


def _build(scan: Scan, message_class: type[M]) -> tuple[M, LineIndex]:
    message = message_class()
    builder = Builder(scan, message)
    builder.run()
    return message, LineIndex(scan, builder.offsets)
