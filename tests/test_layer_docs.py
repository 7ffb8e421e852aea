"""docs/layers.md: current, complete, and true to the schema and to what the layers do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from caffepy.engine import single_layer
from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.data import datum
from caffepy.engine.data.db import create_db
from caffepy.engine.data.transformer import Transformer
from caffepy.engine.known_types import is_caffes
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import AnnotatedDatum, NetParameter
from caffepy.proto.fields import is_repeated
from docs import generate
from docs.coverage import coverage
from docs.pages import Block, Field, Page, PageError, read_page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {name: read_page(name, cls) for name, cls in LAYERS.items()}
TRANSFORMATIONS = read_page("Transformations", Transformer)
BLOCKS = [
    pytest.param(name, block, id=f"{name}-{block.name}")
    for name, page in {**PAGES, "Transformations": TRANSFORMATIONS}.items()
    for block in page.blocks
    if not block.reference
]
# Where a layer takes another default than the one that the schema states.
OWN_DEFAULTS = {
    ("SigmoidCrossEntropyLoss", "normalization"): "BATCH_SIZE",
    ("ROIPooling", "spatial_scale"): "1",
}
# Types that no case was recorded of; their tests compare them with plain loops.
NOT_RECORDED = {
    "BN",
    "BoxAnnotatorOHEM",
    "Mish",
    "Python",
    "Reorg",
    "SmoothL1LossOHEM",
    "SoftmaxWithLossOHEM",
}
DOUBLE = """
import caffe
class Double(caffe.Layer):
    def setup(self, bottom, top):
        self.factor = eval(self.param_str)["factor"]
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data
    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.factor * top[0].diff
"""


@pytest.fixture
def example_files(tmp_path: Path, modules_as_before: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with what the examples name: a database, lists, a module. Files are written to
    it."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    with create_db(tmp_path / "train_lmdb", "lmdb") as writer:
        for index, image in enumerate(images):
            writer.put(b"%08d" % index, datum.raw(image, index).SerializeToString())
    with create_db(tmp_path / "boxes_lmdb", "lmdb") as writer:
        boxed = AnnotatedDatum(
            type=AnnotatedDatum.BBOX, datum=datum.raw(np.tile(images[0], (3, 1, 1)), 0)
        )
        writer.put(b"0", boxed.SerializeToString())
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["data"], file["label"] = np.ones((6, 3)), np.zeros(6)
    (tmp_path / "train_h5.txt").write_text("train.h5\n")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((10, 12, 3), np.uint8))
    (tmp_path / "train.txt").write_text("a.png 0\na.png 1\n")
    windows = "2\n1 1 0 0 9 9\n0 0 0 0 9 9\n"
    (tmp_path / "windows.txt").write_text(f"# 0\na.png\n3\n10\n12\n{windows}")
    (tmp_path / "double.py").write_text(DOUBLE)
    return tmp_path


def build(
    page: Page, folder: Path, without: tuple[str, str] | None = None
) -> single_layer.SingleLayer:
    """Sets the page's example up on ones, but for small random numbers in the first bottom.

    without: the block and the field to take out of it first.
    """
    param = text.parse(page.example, NetParameter).layer[0]
    if without is not None:
        getattr(param, without[0]).ClearField(without[1])
    bottoms = [np.ones(shape) for _, shape in page.bottoms]
    if bottoms:
        bottoms[0] = np.random.default_rng(0).random(page.bottoms[0][1])
    return single_layer.make_layer(param, bottoms, folders=(folder,))


# ---- the file


def test_the_file_is_current() -> None:
    current = generate.FILE.read_text(encoding="utf-8") == generate.pages()
    assert current, "run python -m docs.generate"


def test_the_command_finds_it_current() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert run.returncode == 0


def test_a_file_that_is_not_current_is_named_and_then_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "FILE", tmp_path / "layers.md")
    assert generate.main(["--check"]) == 1
    assert "layers.md is not current: run python -m docs.generate" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_every_type_has_one_section_with_all_parts() -> None:
    sections = re.split(r"^## ", generate.pages(), flags=re.M)[1:]
    by_name = {section.partition("\n")[0]: section for section in sections}
    assert list(by_name) == [*LAYERS, "Transformations", "What is tested"]
    for name in LAYERS:
        section = by_name[name]
        differs = f"**Differs from {'Caffe' if is_caffes(name) else 'the fork'}:**"
        for part in ("| blob |", "ields", differs, "**Source:**", "\nExample, "):
            assert part in section, (name, part)
        assert re.search(r"^(Fields of|There are no fields\.$)", section, re.M), name


# ---- what the docstrings say, against the schema


@pytest.mark.parametrize("name", PAGES)
def test_blobs_blocks_and_labels_are_there(name: str) -> None:
    page, cls = PAGES[name], LAYERS[name]
    labels = " ".join(label for label, _ in page.blobs)
    assert page.formula.endswith(".")
    assert "bottom" in labels or cls.bottoms == 0
    assert "top" in labels or cls.tops == 0
    assert bool(page.blocks) != page.without_fields
    assert "Source" in page.labels


@pytest.mark.parametrize("name", PAGES)
def test_blocks_that_the_layer_reads_are_told_of(name: str) -> None:
    source = Path(sys.modules[LAYERS[name].__module__].__file__ or "").read_text(encoding="utf-8")
    read = set(re.findall(r"\bparam\.(\w+_param)\b", source))
    assert read <= {block.name for block in PAGES[name].blocks}


@pytest.mark.parametrize(("name", "block"), BLOCKS)
def test_every_field_is_named(name: str, block: Block) -> None:
    assert {field.name for field in block.fields} <= set(block.message.fields_by_name)
    assert block.rest or not block.unnamed()


@pytest.mark.parametrize(("name", "block"), BLOCKS)
def test_defaults_are_those_of_the_schema(name: str, block: Block) -> None:
    for field in block.fields:
        wanted = OWN_DEFAULTS.get((name, field.name)) or schema_default(block, field)
        if wanted is not None and field.default is not None:
            assert comparable(field.default) == comparable(wanted), field.name


@pytest.mark.parametrize(
    ("name", "block", "field"),
    [
        pytest.param(name, block, field, id=f"{name}-{field.name}")
        for name, page in PAGES.items()
        for block in page.blocks
        for field in block.fields
        if field.default is None
    ],
)
def test_a_field_without_default_must_be_given(
    name: str, block: Block, field: Field, example_files: Path
) -> None:
    with pytest.raises(CaffepyError):
        build(PAGES[name], example_files, without=(block.name, field.name)).forward()


@pytest.mark.parametrize(
    ("name", "block", "field"),
    [
        pytest.param(name, block, field, id=f"{name}-{field.name}")
        for name, page in PAGES.items()
        for block in page.blocks
        for field in block.fields
        if (field.default or "").startswith("constant ")
    ],
)
def test_a_filler_that_is_not_given_is_the_constant_that_is_named(
    name: str, block: Block, field: Field, example_files: Path
) -> None:
    run = build(PAGES[name], example_files, without=(block.name, field.name))
    wanted = float((field.default or "").removeprefix("constant "))
    filled = [blob.data.read() for blob in run.layer.blobs] or run.forward()
    bias_is_off = field.name == "bias_filler" and len(filled) == 1
    assert bias_is_off or any((values == np.float32(wanted)).all() for values in filled)


def schema_default(block: Block, field: Field) -> str | None:
    """The default that the schema states; None where it states none."""
    schema = block.message.fields_by_name[field.name]
    if is_repeated(schema) or schema.message_type is not None or not schema.has_default_value:
        return None
    if schema.enum_type is not None:
        return str(schema.enum_type.values_by_number[schema.default_value].name)
    return str(schema.default_value)


def comparable(default: str) -> str | float:
    """Numbers as float32, the rest in small letters."""
    try:
        return float(np.float32(default))
    except ValueError:
        return default.lower()


# ---- the examples


@pytest.mark.parametrize("name", PAGES)
def test_the_example_runs_and_gives_the_shapes_it_names(name: str, example_files: Path) -> None:
    page = PAGES[name]
    run = build(page, example_files)
    if name == "MemoryData":  # what it gives, a program must give it
        run.layer.reset(np.zeros((2, 3, 4, 5)), np.zeros(2))  # type: ignore[attr-defined]
    try:
        tops = run.forward()
    finally:
        run.layer.close()
    assert [blob.name for blob in run.bottom] == [name for name, _ in page.bottoms]
    found = [(blob.name, top.shape) for blob, top in zip(run.top, tops, strict=True)]
    assert found == page.tops
    assert all(np.isfinite(top).all() for top in tops)
    assert run.layer.type == name


# ---- what is tested


def test_every_type_is_tested() -> None:
    for name, found in coverage().items():
        assert any(found.cases.values()) or name in NOT_RECORDED, f"{name}: no recorded case"
        assert found.gradient, f"{name}: no gradient check"


# ---- the form of docstrings


def test_a_docstring_is_read_in_parts() -> None:
    class Documented:
        """y = a x, in
        two lines.

        bottom[0]: (N,) x   top[0]: (N,),
        going on
        relu_param: negative_slope (0): of what is
        below; engine (DEFAULT)
        loss_param: all fields: of no effect

        A note: of two
        lines.

        Raises: nothing.

        Example: x (2, 3), a () -> y (2,)
            layer {
              name: "y" }
        """

    page = read_page("Documented", Documented)
    assert page.formula == "y = a x, in two lines."
    assert page.blobs == [("bottom[0]", "(N,) x"), ("top[0]", "(N,), going on")]
    assert page.blocks == [
        Block(
            "relu_param",
            [Field("negative_slope", "0", "of what is below"), Field("engine", "DEFAULT", "")],
        ),
        Block("loss_param", rest="of no effect"),
    ]
    assert page.blocks[0].unnamed() == []
    assert page.notes == ["A note: of two lines."]
    assert page.labels == {"Raises": "nothing."}
    assert page.example == 'layer {\n  name: "y" }'
    assert (page.bottoms, page.tops) == ([("x", (2, 3)), ("a", ())], [("y", (2,))])


@pytest.mark.parametrize(
    ("docstring", "message"),
    [
        (
            "y.\n\nrelu_param: negative_slope, which is 0",
            r"relu_param: expected `field \(default\)`",
        ),
        ("y.\n\nrule_param: slope (0)", "rule_param: expected a block of the schema"),
        ("y.\n\nExample: x 2, 3 -> y (2)", r"Example: expected `name \(sizes\)`, got 'x 2, 3'"),
    ],
)
def test_another_form_is_refused(docstring: str, message: str) -> None:
    documented = type("Documented", (), {"__doc__": docstring})
    with pytest.raises(PageError, match=f"^Documented: {message}"):
        read_page("Documented", documented)
