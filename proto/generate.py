"""Makes caffe_pb2.py and caffe_pb2.pyi out of caffe.proto.

    pip install 'grpcio-tools==1.59.*'
    python proto/generate.py

That release holds protoc 24, whose output runs on protobuf 3.20 to 7; newer output refuses the
older runtimes. The schema is compiled as caffepy/proto/caffe.proto: a second `caffe.proto` in the
process would otherwise be refused.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WANTED_TOOLS = "1.59."


def main() -> int:
    """Returns protoc's exit code, or 2 where the right protoc is not installed."""
    try:
        found = version("grpcio-tools")
    except PackageNotFoundError:
        found = "none"
    if not found.startswith(WANTED_TOOLS):
        print(f"needs grpcio-tools {WANTED_TOOLS}*, found {found}", file=sys.stderr)
        return 2
    protoc: Any = import_module("grpc_tools.protoc")

    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "caffepy", "proto")
        package.mkdir(parents=True)
        shutil.copy(HERE / "caffe.proto", package)
        code: int = protoc.main(
            [
                "protoc",
                f"-I{folder}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                "caffepy/proto/caffe.proto",
            ]
        )
        if code == 0:
            shutil.copy(package / "caffe_pb2.py", HERE)
            # The stub lacks type arguments, and strict checks are for what people write.
            stub = (package / "caffe_pb2.pyi").read_text(encoding="utf-8")
            (HERE / "caffe_pb2.pyi").write_text("# mypy: ignore-errors\n" + stub, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
