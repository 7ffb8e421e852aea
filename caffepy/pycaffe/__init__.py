"""pycaffe's interface; `import caffe` gives it under Caffe's name where no other caffe is found
before, `import caffepy.pycaffe as caffe` anywhere."""

from __future__ import annotations

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.log import info as log
from caffepy.engine.pyblob import Blob, BlobVec
from caffepy.engine.pylayer import Layer
from caffepy.engine.pymode import (
    NCCL,
    Timer,
    has_nccl,
    init_log,
    layer_type_list,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from caffepy.engine.pynet import Net
from caffepy.engine.pysolver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)
from caffepy.proto.caffe_pb2 import TEST, TRAIN
from caffepy.pycaffe import io, net_spec, proto  # noqa: F401 - modules, there without an import
from caffepy.pycaffe.classifier import Classifier
from caffepy.pycaffe.detector import Detector
from caffepy.pycaffe.net_spec import NetSpec, layers, params, to_proto

__version__ = "1.0.0"  # of the pycaffe whose interface this is

__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "BlobVec",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "Timer",
    "__version__",
    "get_solver",
    "has_nccl",
    "init_log",
    "layer_type_list",
    "layers",
    "log",
    "params",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]
