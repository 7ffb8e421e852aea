"""pycaffe's interface under its own name; see caffepy/pycaffe/proto/."""

from caffe.proto import caffe_pb2 as caffe_pb2
