"""Bytes to characters to tokens, with their places.

Bytes: UTF-8, UTF-16 with a byte order mark, and anything else as Latin-1 (a GBK comment does no
harm that way). Lines end in LF, CR or CRLF.
"""

from __future__ import annotations

import bisect
import codecs
import re
from typing import NamedTuple

from caffepy.proto.errors import PrototxtError

# A backslash after a drive letter or leading dots, and not doubled, starts a Windows path.
PATH_START = r"(?:[A-Za-z]:|\.\.?)\\(?![\\\"'])"
_TOKEN = re.compile(
    r"(?P<skip>[ \t\n\f\v]+|\#[^\n]*)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>\.?[0-9](?:[eE][+-]|[A-Za-z0-9_.])*)"
    rf"|(?P<path>\"{PATH_START}[^\"\n]*\"|'{PATH_START}[^'\n]*')"
    r"|(?P<string>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<symbol>[{}<>\[\]:;,-])"
    r"|(?P<open_string>[\"'][^\n]*)"
    r"|(?P<bad>.)"
)
_ESCAPE = re.compile(
    rb"\\(?:([abfnrtv\\'\"?])|([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})"
    rb"|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|)",
)
_LETTERS = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True))
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


class Token(NamedTuple):
    """kind: name, number, string, path, symbol, open_string, bad or end; start: offset."""

    kind: str
    text: str
    start: int


class Scan:
    """The characters and tokens of one source.

    first_line, first_column: where in the source the text begins, for a part of a file.
    """

    def __init__(self, text: str, source: str, first_line: int = 1, first_column: int = 1) -> None:
        self.source = source
        self._first_line, self._first_column = first_line, first_column
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self._line_starts = [0, *(m.end() for m in re.finditer("\n", self.text))]
        self.tokens = [
            Token(str(m.lastgroup), m.group(), m.start())
            for m in _TOKEN.finditer(self.text)
            if m.lastgroup != "skip"
        ]
        # An unclosed brace or missing value is met here: behind the last token, not the last line.
        last = self.tokens[-1] if self.tokens else Token("end", "", 0)
        self.tokens.append(Token("end", "", last.start + len(last.text)))

    def line(self, offset: int) -> int:
        """The line of a character, from 1."""
        return bisect.bisect_right(self._line_starts, offset) + self._first_line - 1

    def column(self, offset: int) -> int:
        """The column of a character, from 1; a tab is one column."""
        row = bisect.bisect_right(self._line_starts, offset) - 1
        first = self._first_column if row == 0 else 1
        return offset - self._line_starts[row] + first

    def where(self, offset: int) -> str:
        """`file:line:column`, both from 1."""
        return f"{self.source}:{self.line(offset)}:{self.column(offset)}"


def decode(data: bytes, source: str) -> str:
    """The characters of a file's bytes. Raises: PrototxtError where it is no text."""
    text = None
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if data.startswith(mark):
            try:
                text = data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise PrototxtError(
                    f"{source}: starts as UTF-16 text but is none at byte {error.start + 2}."
                    " Save it as UTF-8."
                ) from None
    if text is None:
        data = data.removeprefix(codecs.BOM_UTF8)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    controls = len(_CONTROL.findall(text))
    if "\0" in text or controls * 50 > len(text):
        raise PrototxtError(
            f"{source}: expected a text file, got binary data. It looks like a serialized message"
            " (.caffemodel, .solverstate, .binaryproto): give it where weights or means are asked"
            " for, not as a prototxt."
        )
    return text


def unquote(token: Token) -> bytes:
    """What a string token stands for.

    Escapes are protobuf's. A Windows path (token kind `path`) has none. A string with an escape
    that protobuf does not know (`"data\\dir"`) is taken for a path too: all its backslashes stay,
    but for those before a quote.
    """
    body = token.text[1:-1].encode("utf-8", "surrogatepass")
    if token.kind == "path" or b"\\" not in body:
        return body
    if any(m.end() - m.start() == 1 for m in _ESCAPE.finditer(body)):
        return re.sub(rb"\\([\"'])", rb"\1", body)
    return _ESCAPE.sub(_escaped, body)


def _escaped(match: re.Match[bytes]) -> bytes:
    letter, octal, hexadecimal, short, long = match.groups()
    if letter:
        return bytes([_LETTERS[letter[0]]])
    if octal:
        return bytes([int(octal, 8) & 0xFF])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    code = int(short or long, 16)
    return chr(code).encode("utf-8", "surrogatepass") if code < 0x110000 else match.group()
