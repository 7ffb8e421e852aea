"""caffe.proto: the messages that prototxt and caffemodel files are made of."""

from caffepy.pycaffe.proto import caffe_pb2 as caffe_pb2
