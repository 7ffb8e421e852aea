"""pycaffe's interface; `import caffe` gives it under Caffe's name where no other caffe is found
before, `import caffepy.pycaffe as caffe` anywhere."""

from __future__ import annotations

from caffepy.engine.pyblob import Blob, BlobVec
from caffepy.engine.pylayer import Layer
from caffepy.proto.caffe_pb2 import TEST, TRAIN

__all__ = ["TEST", "TRAIN", "Blob", "BlobVec", "Layer"]
