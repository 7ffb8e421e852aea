"""A finding of `caffepy doctor`."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, BROKEN = "ok", "note", "broken"


@dataclass(frozen=True)
class Finding:
    """value: what was found.  state: OK; NOTE: training works, but see the remedy; BROKEN: it does
    not.  remedy: what to do."""

    name: str
    value: str
    state: str = OK
    remedy: str = ""
