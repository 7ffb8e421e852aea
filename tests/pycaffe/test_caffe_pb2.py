"""caffe.proto.caffe_pb2: the messages under Caffe's name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf import text_format

import caffe
import caffepy.pycaffe
from caffe.proto import caffe_pb2

ROOT = Path(__file__).resolve().parents[2]


def test_text_is_read_and_printed() -> None:
    net = text_format.Merge('layer { name: "a" type: "ReLU" }', caffe_pb2.NetParameter())
    net.layer[0].top.append("b")
    assert str(net) == 'layer {\n  name: "a"\n  type: "ReLU"\n  top: "b"\n}\n'
    assert text_format.MessageToString(net) == str(net)


def test_a_message_of_caffes_fields_has_caffes_bytes(golden: Path) -> None:
    data = (golden / "pyapi" / "deploy.caffemodel").read_bytes()
    net = caffe_pb2.NetParameter.FromString(data)
    assert [layer.name for layer in net.layer if layer.blobs] == ["c", "fc"]
    assert net.SerializeToString() == data


def test_enums_are_caffes() -> None:
    assert (caffe_pb2.TRAIN, caffe_pb2.TEST) == (caffe.TRAIN, caffe.TEST) == (0, 1)
    assert caffe_pb2.V1LayerParameter.LayerType.Value("CONVOLUTION") == 4
    assert caffe_pb2.SolverParameter.SolverMode.Name(1) == "GPU"


def test_both_names_show_the_same_messages() -> None:
    other = caffepy.pycaffe.proto.caffe_pb2
    assert caffe.proto.caffe_pb2.NetParameter is other.NetParameter


def test_another_caffe_proto_in_the_process_does_no_harm(tmp_path: Path) -> None:
    """What onnx converters and BVLC's own pycaffe bring: a file caffe.proto of package caffe."""
    code = (
        "from google.protobuf import descriptor_pb2, descriptor_pool\n"
        "file = descriptor_pb2.FileDescriptorProto(name='caffe.proto', package='caffe')\n"
        "file.message_type.add(name='NetParameter')\n"
        "descriptor_pool.Default().AddSerializedFile(file.SerializeToString())\n"
        "from caffe.proto import caffe_pb2\n"
        "caffe_pb2.NetParameter(name='x')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
