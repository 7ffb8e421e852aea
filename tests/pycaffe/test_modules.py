"""The modules of pycaffe under both names."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "": ["Classifier", "Detector", "NetSpec", "io", "layers", "net_spec", "params", "proto",
         "to_proto"],
    "io": ["Transformer", "array_to_blobproto", "array_to_datum",
           "arraylist_to_blobprotovector_str", "blobproto_to_array",
           "blobprotovector_str_to_arraylist", "caffe_pb2", "datum_to_array", "load_image",
           "oversample", "resize_image"],
    "net_spec": ["Function", "Layers", "NetSpec", "Parameters", "Top", "assign_proto", "layers",
                 "param_name_dict", "params", "to_proto"],
    "draw": ["choose_color_by_layertype", "draw_net", "draw_net_to_file", "get_edge_label",
             "get_layer_label", "get_layer_lr_mult", "get_pooling_types_dict", "get_pydot_graph"],
    "classifier": ["Classifier"],
    "detector": ["Detector"],
    "coord_map": ["AxisMismatchException", "UndefinedMapException", "compose", "conv_params",
                  "coord_map", "coord_map_from_to", "crop", "crop_params", "inverse"],
    "proto.caffe_pb2": ["BlobProto", "Datum", "NetParameter", "SolverParameter", "TEST", "TRAIN"],
}  # fmt: skip


@pytest.mark.parametrize("module", NAMES)
def test_a_module_has_every_name_of_pycaffes(module: str) -> None:
    ours = importlib.import_module(f"caffepy.pycaffe.{module}".rstrip("."))
    shown = importlib.import_module(f"caffe.{module}".rstrip("."))
    for name in NAMES[module]:
        if name not in ("io", "net_spec", "proto"):  # modules of their own
            assert getattr(shown, name) is getattr(ours, name)
        assert hasattr(shown, name)


@pytest.mark.parametrize("module", ["pycaffe", "_caffe"])
def test_what_scripts_import_from_the_inner_modules_is_there(module: str) -> None:
    inner = importlib.import_module(f"caffe.{module}")
    names = ["Net", "SGDSolver", "NesterovSolver", "AdamSolver", "NCCL", "Timer"]
    if module == "_caffe":
        names += [
            "Blob",
            "Layer",
            "get_solver",
            "layer_type_list",
            "set_mode_cpu",
            "set_random_seed",
        ]
    for name in names:
        assert getattr(inner, name) is getattr(importlib.import_module("caffepy.pycaffe"), name)


def test_import_caffe_alone_gives_its_modules_and_loads_no_file_libraries() -> None:
    code = (
        "import sys, caffe\n"
        "caffe.io.Transformer, caffe.net_spec.Top, caffe.proto.caffe_pb2.Datum\n"
        "caffe.pycaffe.Net, caffe._caffe.Net, caffe.classifier.Classifier\n"
        "heavy = {'cv2', 'h5py', 'lmdb', 'pydot'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
