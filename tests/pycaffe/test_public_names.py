"""The names that scripts use: annotated and documented, typed for their checkers, and listed."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import caffepy
import caffepy.pycaffe as caffe

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "pycaffe.md").read_text(encoding="utf-8")
MODULES = ("caffepy", "caffepy.pycaffe", *(
    f"caffepy.pycaffe.{name}" for name in ("io", "net_spec", "draw", "coord_map")
))  # fmt: skip


def public_names() -> Iterator[tuple[str, Any]]:
    """What the modules show of ours: functions, classes, and the members of classes."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", None) or vars(module)
        for name in names:
            value = getattr(module, name)
            if name.startswith("_") or not callable(value) or not _is_ours(value):
                continue
            yield f"{module_name}.{name}", value
            for cls in value.__mro__ if isinstance(value, type) else ():
                if _is_ours(cls):
                    for member, found in vars(cls).items():
                        if _is_told_of(member, found):
                            yield f"{cls.__module__}.{cls.__qualname__}.{member}", found


def _is_ours(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").startswith("caffepy.")


def _is_told_of(name: str, member: Any) -> bool:
    kinds = (property, classmethod, staticmethod)
    return (callable(member) or isinstance(member, kinds)) and (
        not name.startswith("_") or name == "__init__"
    )


def _function(value: Any) -> Callable[..., Any]:
    if isinstance(value, property):
        assert value.fget is not None
        return value.fget
    found: Callable[..., Any] = getattr(value, "__func__", value)
    return found


def _unannotated(function: Callable[..., Any]) -> list[str]:
    """The parameters without annotation, and `return`."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        del parameters[0]
    missing = [one.name for one in parameters if one.annotation is inspect.Parameter.empty]
    return missing + ["return"] * (signature.return_annotation is inspect.Signature.empty)


NAMES = dict(public_names())


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_annotated_and_documented(name: str) -> None:
    value = NAMES[name]
    if not isinstance(value, type):
        assert not _unannotated(_function(value))
    assert inspect.getdoc(_function(value)), "it has no docstring"


# ---- what a checker sees


SCRIPT = """
import numpy as np

import caffe
import caffepy
from caffepy.pycaffe import NetSpec, io

with caffepy.Net("deploy.prototxt", "x.caffemodel", phase="TEST") as net:
    probabilities: np.ndarray = net.forward(data=np.zeros((1, 3)))["prob"]
    summary = net.summary()
    total: int = summary.parameters + summary.multiply_adds + summary.memory_bytes
    for row in summary.layers:
        print(row.name, row.tops, row.parameters)
    net.blobs["data"].reshape(1, 3)
    net.params["fc"][0].data[...] *= 2
with caffepy.Solver("solver.prototxt") as solver:
    solver.step(1)
    rate: float = solver.lr
    other: caffepy.Solver = caffe.get_solver("solver.prototxt")
caffepy.load_layers("mine.py")
try:
    caffe.SGDSolver("solver.prototxt").solve()
except caffepy.CaffepyError as error:
    print(error)
transformer = caffe.io.Transformer({"data": (1, 3, 2, 2)})
image: np.ndarray = io.load_image("cat.jpg")
text: str = str(NetSpec().to_proto())
"""
WRONG = """
import caffepy

net = caffepy.Net("deploy.prototxt", phase="TEST")
net.blobs["data"].reshape("1")
net.sumary()
caffepy.Nett
"""


def checked(folder: Path, packages: Path, script: str) -> subprocess.CompletedProcess[str]:
    """What `mypy --strict` says of a script of a user who has the packages."""
    pytest.importorskip("mypy", reason="needs mypy (pip install caffepy[check])")
    (folder / "script.py").write_text(script, encoding="utf-8")
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(packages / "cache")]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, "script.py"],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_script_of_a_user_passes_strict_checks(tmp_path: Path, laid_out: Path) -> None:
    assert (laid_out / "caffepy" / "py.typed").is_file()
    done = checked(tmp_path, laid_out, SCRIPT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_checker_finds_wrong_names_and_arguments(tmp_path: Path, laid_out: Path) -> None:
    done = checked(tmp_path, laid_out, WRONG)
    lines = re.findall(r"^script.py:(\d+): error", done.stdout, re.MULTILINE)
    assert lines == ["5", "6", "7"], done.stdout


# ---- names of caffepy itself


def test_caffepy_gives_pycaffes_classes_when_they_are_asked_for() -> None:
    code = (
        "import sys, caffepy\n"
        "assert 'google.protobuf' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert {'Net', 'Solver', 'load_layers', 'CaffepyError'} <= set(dir(caffepy))\n"
        "import caffepy.pycaffe as caffe\n"
        "assert caffepy.Net is caffe.Net and caffepy.Solver is caffe.Solver\n"
        "assert not hasattr(caffepy, 'Nett')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_class_that_get_solver_gives_is_a_solver() -> None:
    assert issubclass(caffe.SGDSolver, caffepy.Solver)
    assert issubclass(caffepy.CaffepyError, RuntimeError)


# ---- the table of names


PYCAFFE = {
    "": """Net SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver AdamSolver NCCL
        Timer init_log log set_mode_cpu set_mode_gpu set_device Layer get_solver layer_type_list
        set_random_seed solver_count set_solver_count solver_rank set_solver_rank set_multiprocess
        has_nccl __version__ TRAIN TEST Classifier Detector io layers params NetSpec to_proto
        proto.caffe_pb2 draw coord_map net_spec Blob Solver""",
    "Net": """blobs blob_loss_weights layer_dict params inputs outputs layers top_names bottom_names
        _layer_names _blob_names forward backward forward_all forward_backward_all set_input_arrays
        reshape clear_param_diffs copy_from share_with save save_hdf5 load_hdf5 before_forward
        after_forward before_backward after_backward _forward _backward _batch _inputs _outputs""",
    "Blob": "shape num channels height width count data diff reshape _gpu_data_ptr _gpu_diff_ptr",
    "Layer": "blobs setup reshape type",
    "BlobVec": "add_blob",
    "Solver": """net test_nets iter param add_callback solve step restore snapshot share_weights
        apply_update lr""",
    "io": """blobproto_to_array array_to_blobproto arraylist_to_blobprotovector_str
        blobprotovector_str_to_arraylist array_to_datum datum_to_array Transformer load_image
        resize_image oversample""",
    "io.Transformer": """preprocess deprocess set_transpose set_channel_swap set_raw_scale set_mean
        set_input_scale""",
    "Classifier": "predict",
    "Detector": "detect_windows detect_selective_search crop configure_crop",
    "net_spec": """param_name_dict to_proto assign_proto Top Function NetSpec Layers Parameters""",
    "draw": """get_pooling_types_dict get_edge_label get_layer_lr_mult get_layer_label
        choose_color_by_layertype get_pydot_graph draw_net draw_net_to_file""",
    "coord_map": """conv_params crop_params coord_map compose inverse coord_map_from_to crop
        UndefinedMapException AxisMismatchException""",
}
ROWS = re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) ?\|$", DOC, re.MULTILINE)


def told_names() -> set[str]:
    """The names in the table's first column: `Net.blobs`, `params` are Net.blobs and Net.params."""
    found = set()
    for names, *_ in ROWS:
        owner = ""
        for name in re.findall(r"`([\w.]+)", names):
            head, dot, last = name.rpartition(".")
            owner = head if dot else owner
            found.add(f"{owner}.{last}".lstrip("."))
    return found


@pytest.mark.parametrize("owner", PYCAFFE)
def test_the_table_lists_every_name_of_pycaffe(owner: str) -> None:
    wanted = {f"{owner}.{name}".lstrip(".") for name in PYCAFFE[owner].split()}
    assert wanted - told_names() == set()


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_row_of_the_table_names_tests_that_there_are(row: tuple[str, str, str]) -> None:
    files = re.findall(r"`(.*?)`", row[2])
    assert files
    for file in files:
        assert (ROOT / (file if "/" in file else f"tests/pycaffe/{file}")).is_file(), file
