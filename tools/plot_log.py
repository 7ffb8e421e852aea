"""caffepy plot_log: the curves of training logs as a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from caffepy.tools.log_table import LogTable, Series, open_log

PANELS = ("loss", "test", "lr")
_UNITS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))

Curves = dict[str, Series]  # by label


@click.command()
@click.argument("log_files", nargs=-1, required=True, metavar="LOG...")
@click.argument("picture")
@click.option(
    "--x",
    "axis",
    type=click.Choice(["iteration", "time"]),
    default="iteration",
    help="What the curves are drawn against. [default: iteration]",
)
@click.option(
    "--panels",
    default=",".join(PANELS),
    metavar="A,B",
    help="Of loss, test (outputs that are no losses) and lr, those to draw. [default: all that the "
    "logs tell of]",
)
def command(log_files: tuple[str, ...], picture: str, axis: str, panels: str) -> None:
    """Draws losses, test outputs and learning rate of one LOG, or of several to compare, into
    PICTURE (.png, .svg, .pdf).

    A LOG is what `train` printed, caffepy's or Caffe's.
    """
    wanted = [panel.strip() for panel in panels.split(",")]
    if not set(wanted) <= set(PANELS):
        raise click.UsageError(f"--panels: expected some of {', '.join(PANELS)}, got '{panels}'.")
    draw(log_files, picture, axis=axis, panels=wanted)
    click.echo(f"Wrote {picture}")


def draw(
    log_files: Sequence[str],
    picture: str,
    *,
    axis: str = "iteration",
    panels: Sequence[str] = PANELS,
) -> None:
    """Reads logs and writes the picture. axis: iteration or time.

    Raises: DataError where a log cannot be read or has no numbers, or the picture's ending is
    unknown or it cannot be written; DeviceError without matplotlib.
    """
    from caffepy.engine.core.errors import DataError, DeviceError
    from caffepy.engine.files import written_whole

    tables = {label: open_log(name) for label, name in _labels(log_files).items()}
    curves = {panel: told for panel in panels if (told := _curves(tables, panel))}
    if not curves:
        raise DataError(
            f"{', '.join(tables)}: expected numbers for {', '.join(panels)}, got none. Choose "
            "other --panels."
        )
    if axis == "time" and any(math.isnan(series.seconds[0]) for series in _all(curves)):
        raise DataError(
            f"{', '.join(tables)}: expected the time before each line, as glog prints it, got "
            "lines without. Draw against --x iteration."
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DeviceError("plot_log needs matplotlib: pip install 'caffepy[plot]'.") from error
    figure = Figure(figsize=(8, 3 * len(curves)), layout="constrained")
    ending = Path(picture).suffix.removeprefix(".").lower()
    known = sorted(figure.canvas.get_supported_filetypes())
    if ending not in known:
        raise DataError(
            f"{picture}: expected a picture's name ending in one of {', '.join(known)}, got "
            f"'{ending}'. Call it {Path(picture).stem}.png, say."
        )
    _plot(figure, curves, axis, next(iter(tables)) if len(tables) == 1 else "")
    with written_whole(Path(picture), DataError) as temporary:
        figure.savefig(temporary, format=ending)


def _labels(log_files: Sequence[str]) -> dict[str, str]:
    """The logs by names as short as tells them apart."""
    by_name = {Path(name).name: name for name in log_files}
    if len(by_name) == len(log_files):
        return by_name
    paths = [os.path.abspath(name) for name in log_files]
    above = os.path.commonpath(paths)
    return {os.path.relpath(path, above): path for path in paths}


def _curves(tables: dict[str, LogTable], panel: str) -> Curves:
    """What a panel shows."""
    curves: Curves = {}
    for log, table in tables.items():
        before = f"{log}: " if len(tables) > 1 else ""
        if panel == "lr":
            curves[f"{before}learning rate"] = table.rate
            continue
        is_loss = panel == "loss"
        if is_loss:
            curves[f"{before}train loss"] = table.loss
        for name, series in table.train.items():
            if not is_loss and "loss" not in name:
                curves[f"{before}train {name}"] = series
        for (net, name), series in table.test.items():
            if ("loss" in name) == is_loss:
                curves[f"{before}test {name}" + (f" (net {net})" if net else "")] = series
    return {label: series for label, series in curves.items() if series.numbers}


def _all(curves: dict[str, Curves]) -> Iterator[Series]:
    """The curves of all panels."""
    for panel in curves.values():
        yield from panel.values()


def _plot(figure: Any, curves: dict[str, Curves], axis: str, title: str) -> None:
    """One panel below the other."""
    unit, scale = "iteration", 1.0
    if axis == "time":
        longest = max(max(series.seconds) for series in _all(curves))
        unit, scale = next((each for each in _UNITS if longest >= 2 * each[1]), _UNITS[-1])
    axes = figure.subplots(len(curves), sharex=True, squeeze=False)[:, 0]
    for panel, (name, told) in zip(axes, curves.items(), strict=True):
        for label, series in told.items():
            places: list[float] = [*series.iterations]
            if axis == "time":
                places = [seconds / scale for seconds in series.seconds]
            marked = {"marker": "o", "markersize": 3} if "test " in label else {"linewidth": 1}
            panel.plot(places, series.numbers, label=label, **marked)
            if name == "test":
                panel.annotate(
                    f"{series.numbers[-1]:.4g}",
                    (places[-1], series.numbers[-1]),
                    textcoords="offset points",
                    xytext=(-4, -12),
                    ha="right",
                )
        panel.set_ylabel({"loss": "loss", "test": "outputs", "lr": "learning rate"}[name])
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small", framealpha=0.6)
    axes[0].set_title(title)
    axes[-1].set_xlabel(unit)
