"""get_image_size."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffepy.engine.core.errors import DataError
from caffepy.tools import get_image_size
from tests.tools.invocation import invoke


def test_sizes_of_images_by_name_or_number(golden: Path, tmp_path: Path) -> None:
    folder = golden / "fork_formats"
    out = tmp_path / "sizes.txt"
    arguments = f"{folder}/", str(folder / "list_xml.txt"), str(out)
    invoke(get_image_size.command, *arguments)
    lines = out.read_text().splitlines()
    assert lines[:2] == ["img_00 36 38", "img_01 35 40"]
    assert len(lines) == 12
    numbered = "".join(f"img_{number:02} {number + 7}\n" for number in range(12))
    (tmp_path / "ids.txt").write_text(numbered)
    invoke(get_image_size.command, f"--name_id_file={tmp_path / 'ids.txt'}", *arguments)
    assert out.read_text().splitlines()[:2] == ["7 36 38", "8 35 40"]
    (tmp_path / "ids.txt").write_text("img_00 1\n")
    with pytest.raises(DataError, match="expected a number for 'img_01', line 2 of"):
        get_image_size.run(*arguments, str(tmp_path / "ids.txt"))
