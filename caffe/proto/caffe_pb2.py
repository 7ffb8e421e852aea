"""pycaffe's interface under its own name; see caffepy/pycaffe/proto/caffe_pb2.py."""

from caffepy.pycaffe.proto.caffe_pb2 import *  # noqa: F403
