"""caffe.proto.caffe_pb2: NetParameter, SolverParameter, Datum, ..., and the values of enums.

They are caffepy's own classes, which have the fields of Caffe's forks besides. Binary files carry
those of a fork under its numbers or not at all; see proto/caffe.proto.
"""

from caffepy.proto.caffe_pb2 import *  # noqa: F403
