"""caffepy doctor: what is installed, what works, and what to do about the rest."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence

import click

from caffepy.tools.finding import BROKEN, OK, Finding
from caffepy.tools.health import examine


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def command(as_json: bool) -> int:
    """Looks at packages, engines, CPUs, memory and data formats, and trains a tiny net.

    Ends with status 0 where training works, and with 1 where something is broken that it needs.
    """
    from caffepy.engine.core import log

    log.start(logging.ERROR)  # what is tried here shall not appear as a run's lines
    found = examine()
    works = not any(one.state == BROKEN for findings in found.values() for one in findings)
    if as_json:
        sections = {
            title: [dataclasses.asdict(one) for one in findings]
            for title, findings in found.items()
        }
        click.echo(json.dumps({"works": works, **sections}, indent=2))
    else:
        for line in lines(found, works):
            click.echo(line)
    return 0 if works else 1


def lines(found: Mapping[str, Sequence[Finding]], works: bool) -> Iterator[str]:
    """The findings as aligned text."""
    width = max(len(one.name) for findings in found.values() for one in findings)
    for title, findings in found.items():
        yield title
        for one in findings:
            yield f"  {one.name:<{width}}  {one.value}"
            if one.state != OK:
                yield f"  {'':<{width}}  {one.state}: {one.remedy}"
        yield ""
    yield "Training works." if works else "Something is broken that training needs: see above."
