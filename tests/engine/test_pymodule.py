"""Finding the modules of Python layers: folders, their order, names in the way, failing imports."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import caffepy
from caffepy.engine.core.errors import NetError
from caffepy.engine.pylayer import Layer, find_layer_class
from caffepy.proto.caffe_pb2 import PythonParameter

pytestmark = pytest.mark.usefixtures("modules_as_before")

LAYER = """
import caffe
class {0}(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): pass
    def forward(self, bottom, top): pass
"""


def write(path: Path, name: str = "Mine", rest: str = "") -> Path:
    """A module with one layer class. Returns its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rest + LAYER.format(name))
    return path.parent


def find(module: str, *folders: Path, layer: str = "Mine") -> type[Layer]:
    return find_layer_class(PythonParameter(module=module, layer=layer), folders, "here")


def file_of(cls: type[Layer]) -> Path:
    file = sys.modules[cls.__module__].__file__
    assert file is not None
    return Path(file)


def refusal(module: str, *folders: Path, layer: str = "Mine") -> str:
    with pytest.raises(NetError) as raised:
        find(module, *folders, layer=layer)
    message = str(raised.value)
    assert message.startswith("here: ")
    return message


# ---- where


def test_a_module_lies_beside_the_net_or_in_a_package(tmp_path: Path) -> None:
    write(tmp_path / "net" / "beside.py")
    write(tmp_path / "net" / "pack" / "deep" / "inside.py")
    for name in ("beside", "pack.deep.inside"):
        found = find(name, Path(), tmp_path / "net")
        assert issubclass(found, Layer)
        assert (found.__name__, found.__module__) == ("Mine", name)


def test_pythonpath_goes_before_the_net_and_the_net_before_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, first, second, library = (
        write(tmp_path / folder / f"{name}.py")
        for folder in ("users", "first", "second", "library")
        for name in ("one",)
    )
    for folder in (first, second, library):
        write(folder / "two.py")
    for folder in (second, library):
        write(folder / "three.py")
    monkeypatch.setattr(sys, "path", [str(users), *sys.path, str(library)])
    found = [file_of(find(name, first, second)).parent for name in ("one", "two", "three")]
    assert found == [users, first, second]


def test_a_module_is_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "imports", 0, raising=False)
    folder = write(
        tmp_path / "once.py", rest="import sys; sys.imports = getattr(sys, 'imports', 0) + 1\n"
    )
    assert find("once", folder) is find("once", folder)
    assert sys.imports == 1


def test_modules_of_one_name_in_two_folders_are_both_right(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder / "pyloss.py", rest="from helper import FOLDER\n")
        (tmp_path / folder / "helper.py").write_text(f"FOLDER = {folder!r}\n")
    a, b = (find("pyloss", tmp_path / folder) for folder in "ab")
    assert a is not b
    for cls, folder in ((a, "a"), (b, "b")):
        assert find("pyloss", tmp_path / folder) is cls
        assert folder == sys.modules["pyloss"].FOLDER
        assert pickle.loads(pickle.dumps(cls)) is cls
    write(tmp_path / "c" / "other.py", rest="try: import helper\nexcept ImportError: helper = 0\n")
    find("other", tmp_path / "c")
    assert sys.modules["other"].helper == 0


def test_a_module_of_an_earlier_net_is_not_taken_for_one_that_is_missing(tmp_path: Path) -> None:
    find("pyloss", write(tmp_path / "a" / "pyloss.py"))
    (tmp_path / "b").mkdir()
    assert "there is no 'pyloss' in" in refusal("pyloss", tmp_path / "b")


def test_functions_may_import_more_when_they_are_called(tmp_path: Path) -> None:
    lazy = "def later():\n    import late\n    return late.__file__\n"
    folder = write(tmp_path / "a" / "lazy.py", rest=lazy)
    write(folder / "late.py")
    find("lazy", folder)
    later = sys.modules["lazy"].later
    find("other", write(tmp_path / "b" / "other.py"))
    assert later() == str(folder / "late.py")


def test_a_module_that_the_script_has_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(sys)("__main__")
    exec(LAYER.format("Mine"), module.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", module)
    write(tmp_path / "__main__.py")
    assert find("__main__", tmp_path) is module.Mine


def test_a_name_that_python_itself_uses_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "json.py")
    message = refusal("json", tmp_path)
    assert (
        f"expected 'json' from '{tmp_path / 'json.py'}', got another module of that name" in message
    )
    assert message.endswith("Rename the file and its module in the prototxt.")


# ---- what cannot be found or imported


def test_a_missing_module_says_where_it_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "one" / "pylos.py")
    message = refusal("pyloss", tmp_path / "one", tmp_path / "two")
    assert "expected a module 'pyloss', got none: there is no 'pyloss' in" in message
    for folder in (tmp_path / "one", tmp_path / "two", *map(Path, sys.path[1:3])):
        assert f"'{folder.resolve()}'" in message
    assert message.endswith("Did you mean 'pylos'?")
    assert "its folder into the environment variable PYTHONPATH." in refusal("zzz", tmp_path)


def test_a_missing_part_of_a_package_says_so(tmp_path: Path) -> None:
    write(tmp_path / "pack" / "layers.py")
    message = refusal("pack.layer", tmp_path)
    assert f"there is no 'pack.layer' in '{tmp_path / 'pack'}'. Did you mean 'layers'?" in message


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("pyloss.py", 'Write module: "pyloss".'),
        ("./net/pyloss.py", 'Write module: "net.pyloss".'),
        (r"net\pyloss", 'Write module: "net.pyloss".'),
        ("", "Name the file without its ending .py."),
        (".pyloss", "got '.pyloss'"),
    ],
)
def test_a_path_is_no_name_of_a_module(tmp_path: Path, name: str, better: str) -> None:
    write(tmp_path / "pyloss.py")
    message = refusal(name, tmp_path)
    assert "expected the name of a module, as in Python's `import`" in message
    assert better in message


def test_a_missing_class_says_which_there_are(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "pyloss.py", "EuclideanLossLayer", rest="number = 3\nclass Plain: 0\n"
    )
    where = f"in module 'pyloss' ('{tmp_path / 'pyloss.py'}')"
    message = refusal("pyloss", folder, layer="EuclidianLossLayer")
    assert f"expected a class 'EuclidianLossLayer' derived from caffe.Layer {where}" in message
    assert message.endswith(
        "got none; its layers: EuclideanLossLayer. Did you mean 'EuclideanLossLayer'?"
    )
    assert "got a int; its layers" in refusal("pyloss", folder, layer="number")
    assert "got a class that is not; its" in refusal("pyloss", folder, layer="Plain")
    (tmp_path / "nothing.py").write_text("")
    assert "got none; it has no such class." in refusal("nothing", folder)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'. Install"),
        ("1 / 0", "ZeroDivisionError: division by zero. Correct the module."),
        ("import sys; sys.exit('no licence')", "SystemExit: no licence."),
        ("def f(:", "SyntaxError: invalid syntax (broken.py, line 1)."),
        ("print 'hello'", "correct the line by hand: print(...)."),
        ("import cPickle as pickle", "correct the line by hand: pickle."),
        ("for i in xrange(3): pass", "correct the line by hand: range."),
        ("{}.has_key(1)", "correct the line by hand: key in d."),
        ("try: pass\nexcept ValueError, e: pass", "by hand: except X as error:."),
        ("range(3)[0:2] = []", "by hand: list(...) around it."),
        ("from itertools import izip", "by hand: zip."),
    ],
)
def test_a_module_that_cannot_be_imported_shows_why(
    tmp_path: Path, code: str, expected: str
) -> None:
    folder = write(tmp_path / "broken.py", rest=f"{code}\n")
    head, trace = refusal("broken", folder).split("\n", maxsplit=1)
    assert head.startswith("here: module 'broken' cannot be imported: ")
    assert expected in head
    assert f'File "{tmp_path / "broken.py"}", line {1 + code.count(chr(10))}' in trace
    assert "importlib" not in trace
    assert str(Path(caffepy.__file__).parent) not in trace


def test_an_exception_from_another_is_told_with_it(tmp_path: Path) -> None:
    code = "try:\n    {}['size']\nexcept KeyError as e:\n    raise ValueError('no size') from e\n"
    message = refusal("broken", write(tmp_path / "broken.py", rest=code))
    assert "KeyError: 'size'\n\nThe above exception was the direct cause" in message
    assert message.endswith("ValueError: no size")


# ---- import caffe


def test_our_caffe_comes_before_another_that_is_installed(tmp_path: Path) -> None:
    """In a process of its own, where no caffe was imported before."""
    (tmp_path / "other" / "caffe").mkdir(parents=True)
    (tmp_path / "other" / "caffe" / "__init__.py").write_text("class Layer: pass\n")
    write(tmp_path / "mine.py")
    code = (
        "import sys; from pathlib import Path\n"
        "from caffepy.engine.pylayer import Layer, find_layer_class\n"
        "from caffepy.proto.caffe_pb2 import PythonParameter\n"
        "if sys.argv[1] == 'imported': import caffe; assert caffe.Layer is not Layer\n"
        "find_layer_class(PythonParameter(module='mine', layer='Mine'), [Path()], 'here')\n"
        "import caffe; assert caffe.Layer is Layer and caffe.TEST == 1\n"
    )
    checkout = Path(caffepy.__file__).resolve().parents[1]
    for state in ("fresh", "imported"):
        run = subprocess.run(
            [sys.executable, "-c", code, state],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(tmp_path / "other"), str(checkout)]),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert ("Another module named caffe was imported before" in run.stderr) == (
            state == "imported"
        )


def test_a_class_of_another_caffe_is_recognised(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine.py", rest="class Layer: pass\nclass Odd(Layer): pass\n")
    message = refusal("mine", folder, layer="Odd")
    assert "got one derived from the Layer of another caffe, which was imported before" in message
