"""docs/guide.md: followed from an empty folder, in the order of its text."""

from __future__ import annotations

import re

import numpy as np
import pytest

from caffepy.proto import weights
from tests.tutorial import ROOT, Tutorial

GUIDE = ROOT / "docs" / "guide.md"
FROM_STEP_1 = "shapes_iter_200.caffemodel"


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    # a net this small is no faster on more threads, and much slower where others want them too
    followed = Tutorial(tmp_path_factory.mktemp("guide"), {"OMP_NUM_THREADS": "1"})
    followed.follow(GUIDE.name)
    return followed


def accuracy(guide: Tutorial, command: str) -> float:
    """The last accuracy that a command printed."""
    return float(re.findall(r"accuracy = (\S+)", guide.printed[command])[-1])


def test_the_text_does_what_it_says(guide: Tutorial) -> None:
    assert len(guide.printed) == GUIDE.read_text(encoding="utf-8").count("\n$ ")


def test_the_links_lead_somewhere() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in headings}
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {"layers.md", "pycaffe.md", "extending.md"} < set(links)
    for link in links:
        assert link[1:] in anchors if link.startswith("#") else (GUIDE.parent / link).is_file(), (
            link
        )


def test_the_net_in_python_becomes_the_same_as_that_in_prototxt(guide: Tutorial) -> None:
    written, spec = (weights.read(guide.folder / name) for name in (FROM_STEP_1, "spec.caffemodel"))
    ours, theirs = ([blob for layer in net for blob in layer.blobs] for net in (written, spec))
    assert len(ours) == len(theirs) == 8
    for one, other in zip(ours, theirs):
        np.testing.assert_array_equal(one.data, other.data)


def test_fine_tuning_is_worth_it_and_the_same_in_python(guide: Tutorial) -> None:
    scratch = "caffepy train --solver new_solver.prototxt"
    tuned = f"{scratch} --weights {FROM_STEP_1} --on-mismatch skip"
    assert accuracy(guide, tuned) > accuracy(guide, scratch) + 0.1
    assert accuracy(guide, "python finetune.py") == pytest.approx(accuracy(guide, tuned), abs=1e-3)


def test_a_run_with_left_out_weights_tells_how_to_repeat_it(guide: Tutorial) -> None:
    head = (guide.folder / "new_resolved_solver.prototxt").read_text(encoding="utf-8")
    assert re.search(r"^#   caffepy train .* --on-mismatch skip$", head, re.MULTILINE)


def test_features_tell_more_than_pixels(guide: Tutorial) -> None:
    found = re.search(r"pixels: (\S+), by features: (\S+)", guide.printed["python nearest.py"])
    assert found is not None
    assert float(found[2]) > float(found[1]) + 0.2
