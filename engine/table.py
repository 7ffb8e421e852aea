"""Tables of plain text, printed and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Line = Sequence[str]


def printed(lines: Sequence[Line], numbers_from: int | None = None, letters: int = 0) -> list[str]:
    """The lines with their columns below each other.

    numbers_from: the first column that stands to the right; none by default.  letters: the most
    that a cell keeps, without its middle; all by default.
    """
    fitted = [[_fitted(cell, letters) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*fitted, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if _is_number(index, numbers_from) else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in fitted
    ]


def html(
    lines: Sequence[Line],
    *,
    title: str = "",
    head: Line | None = None,
    foot: Line | None = None,
    numbers_from: int | None = None,
) -> str:
    """A table element under its title, where it has one; what the cells hold is escaped. head,
    foot: its first and last line."""
    head_row, foot_row = (
        "" if line is None else f"<{part}>{_row(line, 'th', numbers_from)}</{part}>"
        for line, part in ((head, "thead"), (foot, "tfoot"))
    )
    body = "".join(_row(line, "td", numbers_from) for line in lines)
    above = f"<p><b>{escape(title)}</b></p>" if title else ""
    return f"{above}<table>{head_row}<tbody>{body}</tbody>{foot_row}</table>"


def one_line(text: str) -> str:
    """A text without line ends and other letters that do not print, whatever a name holds."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _row(cells: Line, tag: str, numbers_from: int | None) -> str:
    told = ""
    for index, cell in enumerate(cells):
        side = "right" if _is_number(index, numbers_from) else "left"
        told += f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
    return f"<tr>{told}</tr>"


def _is_number(index: int, numbers_from: int | None) -> bool:
    return numbers_from is not None and index >= numbers_from


def _fitted(text: str, letters: int) -> str:
    """`a_very_lo...long_name`"""
    text = one_line(text)
    if not letters or len(text) <= letters:
        return text
    kept = letters - len("...")
    return f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
