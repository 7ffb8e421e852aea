"""Reading the numbers of training logs, and drawing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from caffepy.engine.core.errors import DataError
from caffepy.tools.log_table import read_log
from caffepy.tools.plot_log import command, draw

LOG = """\
I1121 00:14:19.663290 17899 solver.cpp:289] Solving net
I1121 00:14:19.663425 17899 solver.cpp:347] Iteration 0, Testing net (#0)
I1121 00:14:19.663532 17899 solver.cpp:414]     Test net output #0: accuracy = 0.25
I1121 00:14:19.663546 17899 solver.cpp:414]     Test net output #1: loss = 1.4 (* 1 = 1.4 loss)
I1121 00:14:19.663589 17899 solver.cpp:239] Iteration 0 (4 iter/s, 0s/2 iters), loss = 1.5
I1121 00:14:19.663601 17899 solver.cpp:258]     Train net output #0: loss = 1.6 (* 1 = 1.6 loss)
I1121 00:14:19.663606 17899 sgd_solver.cpp:112] Iteration 0, lr = 0.02
I1121 00:14:19.663589 17899 solver.cpp:239] Iteration 2 (4 iter/s, 0s/2 iters), loss = nan
I1121 00:14:19.663425 17899 solver.cpp:347] Iteration 4, Testing net (#1)
I1121 00:14:19.663532 17899 solver.cpp:414]     Test net output #0: accuracy = 0.75
"""


def test_numbers_are_found_by_iteration_and_net() -> None:
    table = read_log(LOG.splitlines())
    assert table.loss.iterations == [0, 2]
    assert table.loss.numbers[0] == 1.5
    assert table.loss.numbers[1] != table.loss.numbers[1]
    assert (table.rate.iterations, table.rate.numbers) == ([0], [0.02])
    assert table.train["loss"].numbers == [1.6]
    assert table.test[0, "accuracy"].numbers == [0.25]
    assert (table.test[1, "accuracy"].iterations, table.test[1, "accuracy"].numbers) == (
        [4],
        [0.75],
    )


def test_a_log_that_caffe_printed_gives_what_was_recorded(golden: Path) -> None:
    import json

    case = golden / "solvers" / "sgd_fixed"
    recorded = json.loads((case / "losses.json").read_text())
    table = read_log((case / "log.txt").read_text().splitlines())
    shown = {int(key): value for key, value in recorded["displayed_loss"].items()}
    assert dict(zip(table.loss.iterations, table.loss.numbers, strict=True)) == pytest.approx(shown)


@pytest.mark.parametrize("ending", ["png", "svg"])
@pytest.mark.parametrize("axis", ["iteration", "time"])
def test_the_curves_are_drawn(tmp_path: Path, ending: str, axis: str) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "log").write_text(LOG)
    draw([str(tmp_path / "log")], str(tmp_path / f"curves.{ending}"), axis=axis)
    assert (tmp_path / f"curves.{ending}").stat().st_size > 5000


def drawn(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, dict[str, list[float]]]:
    """What is drawn: by the axes' names, x and y, the first and last x of each curve."""
    figure = pytest.importorskip("matplotlib.figure")
    made: list[Any] = []
    wrapped = figure.Figure.savefig
    monkeypatch.setattr(
        figure.Figure, "savefig", lambda self, *a, **k: made.append(self) or wrapped(self, *a, **k)
    )
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = made[0].axes[-1].get_xlabel()
    return {
        f"{panel.get_ylabel()} / {told}": {
            line.get_label(): [line.get_xdata()[0], line.get_xdata()[-1]] for line in panel.lines
        }
        for panel in made[0].axes
    }


def test_losses_outputs_and_rates_have_a_panel_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_text(LOG)
    arguments = [str(tmp_path / "log"), str(tmp_path / "curves.png")]
    assert drawn(monkeypatch, *arguments) == {
        "loss / iteration": {"train loss": [0, 2], "test loss": [0, 0]},
        "outputs / iteration": {"test accuracy": [0, 0], "test accuracy (net 1)": [4, 4]},
        "learning rate / iteration": {"learning rate": [0, 0]},
    }
    assert list(drawn(monkeypatch, *arguments, "--panels", "lr")) == ["learning rate / iteration"]


def test_time_is_drawn_in_a_fitting_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = "03:14:19.663290 17899 solver.cpp:239] Iteration 2"
    text = LOG.replace("00:14:19.663589 17899 solver.cpp:239] Iteration 2", later)
    (tmp_path / "log").write_text(text)
    arguments = [str(tmp_path / "log"), str(tmp_path / "curves.svg"), "--x", "time"]
    (loss, *_) = drawn(monkeypatch, *arguments).items()
    assert loss[0] == "loss / hours"
    assert loss[1]["train loss"] == pytest.approx([0, 3], abs=1e-6)


def test_several_logs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_text(LOG)
    logs = [str(tmp_path / name) for name in ("a.log", "b.log")]
    panels = drawn(monkeypatch, *logs, str(tmp_path / "curves.png"), "--panels=loss")
    labels = ["a.log: train loss", "a.log: test loss", "b.log: train loss", "b.log: test loss"]
    assert list(panels["loss / iteration"]) == labels


def test_logs_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = [tmp_path / "runs" / name / "log" for name in ("a", "b")]
    for log in logs:
        log.parent.mkdir(parents=True)
        log.write_text(LOG)
    panels = drawn(monkeypatch, *map(str, logs), str(tmp_path / "c.png"), "--panels=lr")
    labels = list(panels["learning rate / iteration"])
    assert labels == [f"{Path(name, 'log')}: learning rate" for name in "ab"]


def test_a_log_without_times_cannot_be_drawn_against_them(tmp_path: Path) -> None:
    lines = (line.rpartition("] ") for line in LOG.splitlines())
    (tmp_path / "log").write_text("\n".join("".join(parts[1:]) for parts in lines))
    with pytest.raises(DataError, match="Draw against --x iteration"):
        draw([str(tmp_path / "log")], str(tmp_path / "curves.png"), axis="time")


def test_panels_that_there_are_not_are_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(LOG.splitlines(keepends=True)[-2:]))
    with pytest.raises(DataError, match="expected numbers for lr, got none"):
        draw([str(tmp_path / "log")], str(tmp_path / "curves.png"), panels=["lr"])
    done = CliRunner().invoke(command, ["log", "curves.png", "--panels", "accuracy"])
    assert done.exit_code == 2
    assert "expected some of loss, test, lr" in done.output


@pytest.mark.parametrize(
    ("picture", "wanted"),
    [
        ("curves.doc", "ending in one of .*png.*, got 'doc'"),
        ("curves", "got ''"),
        ("no/curves.png", "cannot be written"),
    ],
)
def test_a_picture_that_cannot_be_is_refused(tmp_path: Path, picture: str, wanted: str) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "log").write_text(LOG)
    with pytest.raises(DataError, match=wanted):
        draw([str(tmp_path / "log")], str(tmp_path / picture))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_file_without_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("nothing\n")
    with pytest.raises(DataError, match="expected a training log"):
        draw([str(tmp_path / "log")], str(tmp_path / "curves.png"))
