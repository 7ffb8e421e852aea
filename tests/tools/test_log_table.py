"""Reading the numbers of training logs, and drawing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffepy.engine.core.errors import DataError
from caffepy.tools.log_table import read_log
from caffepy.tools.plot_log import draw

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
def test_the_curves_are_drawn(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "log").write_text(LOG)
    draw(str(tmp_path / "log"), str(tmp_path / f"curves.{ending}"))
    assert (tmp_path / f"curves.{ending}").stat().st_size > 5000


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
        draw(str(tmp_path / "log"), str(tmp_path / picture))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_file_without_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("nothing\n")
    with pytest.raises(DataError, match="expected a training log"):
        draw(str(tmp_path / "log"), str(tmp_path / "curves.png"))
