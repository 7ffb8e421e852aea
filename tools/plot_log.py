"""caffepy plot_log: the curves of a training log as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from caffepy.tools.log_table import LogTable, Series, read_log


@click.command()
@click.argument("log_file")
@click.argument("picture")
def command(log_file: str, picture: str) -> None:
    """Draws the losses and the test outputs of LOG_FILE against iterations into PICTURE (.png,
    .svg, .pdf).

    LOG_FILE is what `train` printed, caffepy's or Caffe's.
    """
    draw(log_file, picture)
    click.echo(f"Wrote {picture}")


def draw(log_file: str, picture: str) -> None:
    """Reads a log and writes the picture.

    Raises: DataError where the log cannot be read or has no numbers, or the picture's ending is
    unknown or it cannot be written; DeviceError without matplotlib.
    """
    from caffepy.engine.core.errors import DataError, DeviceError
    from caffepy.engine.files import written_whole

    try:
        with Path(log_file).open(encoding="utf-8", errors="replace") as lines:
            table = read_log(lines)
    except OSError as error:
        raise DataError(f"{log_file}: cannot be read: {error.strerror}.") from error
    if not table.loss.iterations and not table.test:
        raise DataError(
            f"{log_file}: expected a training log, got no line `Iteration N, loss = x`. Give the "
            "file that the output of `caffepy train` (stderr) was written to."
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DeviceError("plot_log needs matplotlib: pip install 'caffepy[plot]'.") from error
    figure = Figure(figsize=(8, 6), layout="constrained")
    _plot(figure, table, Path(log_file).name)
    ending = Path(picture).suffix.removeprefix(".").lower()
    known = sorted(figure.canvas.get_supported_filetypes())
    if ending not in known:
        raise DataError(
            f"{picture}: expected a picture's name ending in one of {', '.join(known)}, got "
            f"'{ending}'. Call it {Path(picture).stem}.png, say."
        )
    with written_whole(Path(picture), DataError) as temporary:
        figure.savefig(temporary, format=ending)


def _plot(figure: Any, table: LogTable, title: str) -> None:
    """Losses above; below, where there are any, the other test outputs."""
    losses: dict[str, Series] = {}
    others: dict[str, Series] = {}
    for (net, name), series in table.test.items():
        (losses if "loss" in name else others)[
            f"test {name}" + (f" (net {net})" if net else "")
        ] = series
    axes = figure.subplots(2 if others else 1, sharex=True, squeeze=False)[:, 0]
    axes[0].plot(table.loss.iterations, table.loss.numbers, label="train loss", linewidth=1)
    for label, series in losses.items():
        axes[0].plot(series.iterations, series.numbers, label=label, marker="o", markersize=3)
    axes[0].set_ylabel("loss")
    for label, series in others.items():
        axes[1].plot(series.iterations, series.numbers, label=label, marker="o", markersize=3)
        axes[1].annotate(
            f"{series.numbers[-1]:.4g}",
            (series.iterations[-1], series.numbers[-1]),
            textcoords="offset points",
            xytext=(-4, -12),
            ha="right",
        )
    axes[0].set_title(title)
    axes[-1].set_xlabel("iteration")
    for panel in axes:
        panel.grid(alpha=0.3)
        panel.legend()
