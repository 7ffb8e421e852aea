"""Layers from outside the tree: `--layers`, installed packages, and what goes wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import caffepy
from caffepy.engine import extensions
from caffepy.engine.core.errors import NetError
from caffepy.engine.core.registry import LAYERS
from tests.integration.refusals import Run, assert_refused

HEAD = """
import numpy as np
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.registry import register_layer
"""

# Adds a number, keeps count of its passes, and fails where it is told to.
BODY = """
@register_layer("{type}")
class AddLayer(Layer):
    records = False

    def setup(self, bottom, top):
        self.settings = self.custom_param("add_param", value=1.0, fail_in="")
        self.count = 0
        self.fail("setup")

    def fail(self, place):
        if self.settings.fail_in == place:
            raise ValueError("as asked")

    def reshape(self, bottom, top):
        if super().reshape(bottom, top):
            top[0].reshape(bottom[0].shape)

    def forward(self, bottom, top):
        self.count += 1
        self.fail("forward")
        top[0].data.write()[...] = bottom[0].data.read() + self.settings.value

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff.write()[...] = top[0].diff.read()

    def state(self):
        return {{"count": self.count}}

    def restore(self, state):
        print("restored", state["count"])
        self.count = state["count"]
"""
ADD = HEAD + BODY.format(type="Add")

NET = """
layer {{ name: "data" type: "DummyData" top: "x"
  dummy_data_param {{ shape {{ dim: 2 dim: 1 }} data_filler {{ type: "gaussian" }} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "y"
  inner_product_param {{ num_output: 1 weight_filler {{ type: "gaussian" std: 0.1 }} }} }}
layer {{ name: "add" type: "Add" bottom: "y" top: "z" {block} }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "x" top: "loss" }}
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 4 snapshot: 2 snapshot_prefix: "s"
"""
TIME = ("time", "--model", "net.prototxt", "--iterations", "1")

pytestmark = pytest.mark.usefixtures("registry_as_before", "modules_as_before")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    write_net(tmp_path, "add_param { value: 2 }")
    (tmp_path / "solver.prototxt").write_text(SOLVER, encoding="utf-8")
    (tmp_path / "adding.py").write_text(ADD, encoding="utf-8")
    return tmp_path


def write_net(folder: Path, block: str) -> None:
    (folder / "net.prototxt").write_text(NET.format(block=block), encoding="utf-8")


@pytest.mark.parametrize("name", ["adding.py", "./adding.py", "adding", "sub.adding"])
def test_a_file_or_a_module_brings_its_layers(name: str, folder: Path, run: Run) -> None:
    if name == "sub.adding":
        (folder / "sub").mkdir()
        (folder / "adding.py").rename(folder / "sub" / "adding.py")
    status, printed = run(*TIME, "--layers", name)
    assert status == 0, printed
    assert f"Layer types of {name}: Add\n" in printed


def test_several_are_given_by_commas_or_repeated_and_loaded_once(folder: Path, run: Run) -> None:
    for kind in ("B", "C"):
        (folder / f"{kind}_layers.py").write_text(HEAD + BODY.format(type=kind), encoding="utf-8")
    status, printed = run(*TIME, "--layers", "adding.py, B_layers.py", "--layers", "C_layers.py")
    assert status == 0, printed
    assert {"Add", "B", "C"} <= set(LAYERS)
    status, printed = run(*TIME, "--layers", "adding.py,adding")
    assert status == 0
    assert "registers no layer" not in printed


def test_files_of_one_name_are_two_modules_and_may_import_their_neighbours(
    folder: Path, run: Run
) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "beside.py").write_text("TYPE = 'Other'", encoding="utf-8")
    (folder / "sub" / "adding.py").write_text(
        HEAD + "import beside\n" + BODY.replace('"{type}"', "beside.TYPE").format(),
        encoding="utf-8",
    )
    assert run(*TIME, "--layers", "adding.py,sub/adding.py")[0] == 0
    assert LAYERS["Other"].__module__ != LAYERS["Add"].__module__


def test_training_snapshots_and_resumes_with_the_layers_state(
    folder: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ("train", "--solver", "solver.prototxt", "--layers", "adding.py")
    assert run(*train)[0] == 0
    whole = (folder / "s_iter_4.caffemodel").read_bytes()
    (folder / "s_iter_4.caffemodel").unlink()
    status, printed = run(*train, "--snapshot", "s_iter_2.solverstate")
    assert status == 0, printed
    assert "restored 2" in printed
    assert (folder / "s_iter_4.caffemodel").read_bytes() == whole


def test_the_resolved_net_has_the_block(folder: Path, run: Run) -> None:
    run("train", "--solver", "solver.prototxt", "--layers", "adding.py")
    resolved = [path.read_text(encoding="utf-8") for path in folder.glob("s_resolved_*.prototxt")]
    assert any("add_param { value: 2 }" in text for text in resolved)


@pytest.mark.parametrize("place", ["setup", "forward"])
def test_an_exception_in_a_layer_is_told_with_its_name_and_traceback(
    place: str, folder: Path, run: Run
) -> None:
    write_net(folder, f"add_param {{ fail_in: '{place}' }}")
    status, printed = run(*TIME, "--layers", "adding.py")
    lines = printed.splitlines()
    assert status == 1
    assert lines[0] == (
        "caffepy: net.prototxt:6: layer 'add' (Add): ValueError: as asked. Correct the layer."
    )
    assert lines[1] == "Traceback (most recent call last):"
    files = {line.split('"')[1] for line in lines if line.strip().startswith("File ")}
    assert files == {str(folder / "adding.py")}
    assert lines[-1] == "ValueError: as asked"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("add_param { vale: 1 }", "net.prototxt:6:66: layer 'add': 'vale' is not a field of"),
        ("add_param { value: x }", "add_param.value: expected a number, got 'x'."),
        ("ad_param { value: 2 }", "has no block 'ad_param'. Did you mean 'add_param'?"),
    ],
)
def test_mistakes_in_its_block_are_refused(
    block: str, message: str, folder: Path, run: Run
) -> None:
    write_net(folder, block)
    assert_refused(run, message, *TIME, "--layers", "adding.py")


def test_a_block_with_a_typing_mistake_is_refused_for_the_trees_layers_too(
    folder: Path, run: Run
) -> None:
    net = NET.format(block="").replace('"Add"', '"ReLU" relux_param { negative_slope: 0.1 }')
    (folder / "net.prototxt").write_text(net, encoding="utf-8")
    wanted = "layer 'add' (ReLU): a layer of this type has no block 'relux_param'. Did you mean 're"
    assert_refused(run, wanted, *TIME)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("addin.py", "--layers addin.py: expected a Python file, got none. Did you mean 'adding.p"),
        ("no/such.py", "expected a Python file, got none. Fix the path, which is relative to '"),
        (".", "--layers .: expected a Python file, got a folder."),
        ("addin", "got a module that is not in '"),
        ("addin", "Did you mean 'adding.py'?"),
        ("no.such", "Correct the name, or add its folder to the environment variable PYTHONPATH."),
        ("a b", "--layers a b: expected a Python file, got none."),
    ],
)
def test_what_does_not_exist_is_refused(name: str, message: str, run: Run) -> None:
    assert_refused(run, message, *TIME, "--layers", name)


@pytest.mark.parametrize(
    ("content", "first_line"),
    [
        ("x = 1\ndef f(:\n", "bad.py:2: --layers: it cannot be imported: SyntaxError: "),
        ("x = 1\n1 / 0\n", "bad.py:2: --layers: it cannot be imported: ZeroDivisionError: "),
        ("import nosuch", "bad.py:1: --layers: it cannot be imported: ModuleNotFoundError: No mod"),
        ("raise SystemExit(3)", "bad.py:1: --layers: it cannot be imported: SystemExit: 3."),
    ],
)
def test_a_file_that_fails_is_told_of_with_its_line(
    content: str, first_line: str, folder: Path, run: Run
) -> None:
    (folder / "bad.py").write_text(content, encoding="utf-8")
    status, printed = run(*TIME, "--layers", "bad.py")
    assert status == 1
    assert printed.startswith(f"caffepy: {first_line}")
    assert str(folder / "bad.py") in printed
    assert "bad" not in sys.modules


def test_a_type_that_is_taken_is_refused_with_both_modules(folder: Path, run: Run) -> None:
    (folder / "bad.py").write_text(HEAD + BODY.format(type="ReLU"), encoding="utf-8")
    status, printed = run(*TIME, "--layers", "bad.py")
    assert status == 1
    assert printed.startswith(
        "caffepy: bad.py:6: --layers: layer type 'ReLU' is registered twice: by caffepy.layers.relu"
    )
    assert f"and by bad ('{folder / 'bad.py'}'). Give one of them another name." in printed


def test_a_file_without_layers_is_warned_about(folder: Path, run: Run) -> None:
    (folder / "empty.py").write_text("", encoding="utf-8")
    status, printed = run(*TIME, "--layers", "adding.py,empty.py")
    assert status == 0
    assert 'empty.py registers no layer. Put @register_layer("Type") before the class' in printed


def test_a_file_that_is_already_imported_is_not_run_again(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    import adding

    extensions.load(str(folder / "adding.py"))
    assert LAYERS["Add"] is adding.AddLayer


# Installed packages.


def install(folder: Path, package: str, module: str, content: str) -> None:
    """What pip would leave behind of a package with one module."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[caffepy.layers]\nany = {module}\n")
    (folder / f"{module}.py").write_text(content, encoding="utf-8")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def test_installed_layers_are_found_without_an_option(site: Path, run: Run) -> None:
    install(site, "caffepy-add", "add_package", ADD)
    status, printed = run(*TIME)
    assert status == 0, printed
    assert "Layer types of the installed package caffepy-add: Add" in printed


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("1 / 0", "ZeroDivisionError"),
        (HEAD + BODY.format(type="Half") + "\nimport nosuch", "No module named 'nosuch'"),
        (HEAD + BODY.format(type="ReLU"), "layer type 'ReLU' is registered twice"),
    ],
)
def test_a_broken_package_is_named_and_stops_nothing(
    content: str, told: str, site: Path, run: Run
) -> None:
    install(site, "caffepy-broken", "broken_package", content)
    install(site, "caffepy-add", "add_package", ADD)
    status, printed = run(*TIME)
    assert status == 0, printed
    assert (
        "entry point 'any = broken_package' (caffepy.layers) of the installed package " in printed
    )
    assert "'caffepy-broken': its layers are left out" in printed
    assert told in printed
    assert "Half" not in LAYERS


def test_a_file_that_is_asked_for_wins_over_an_installed_package(site: Path, run: Run) -> None:
    install(site, "caffepy-add", "add_package", ADD)
    status, printed = run(*TIME, "--layers", "adding.py")
    assert status == 0, printed
    assert "its layers are left out" in printed
    assert LAYERS["Add"].__module__ == "adding"


def test_one_that_fails_leaves_the_registry_as_it_was(folder: Path) -> None:
    (folder / "half.py").write_text(HEAD + BODY.format(type="Half") + "1 / 0", encoding="utf-8")
    with pytest.raises(NetError, match="ZeroDivisionError"):
        extensions.load(str(folder / "half.py"))
    assert "Half" not in LAYERS


def test_python_code_loads_files_of_layers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(
        NetError, match=r"type 'Add' does not exist.*caffepy\.load_layers\('FILE'\)"
    ):
        caffepy.Net("net.prototxt", phase="TRAIN")
    with pytest.raises(NetError, match=r"^load_layers addin\.py: expected .*mean 'adding\.py'"):
        caffepy.load_layers("addin.py")
    (folder / "bad.py").write_text("x = 1\n1 / 0\n", encoding="utf-8")
    with pytest.raises(NetError, match=r"^bad\.py:2: load_layers: it cannot be imported"):
        caffepy.load_layers(Path("adding.py"), "bad.py")
    with caffepy.Net("net.prototxt", phase="TRAIN") as net:
        assert net.layer_dict["add"].type == "Add"
