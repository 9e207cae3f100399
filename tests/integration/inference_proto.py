"""The gRPC contract as Python modules, compiled from proto/ when imported."""

import pathlib
import sys
import tempfile

import grpc_tools
from grpc_tools import protoc

import programs

_out = tempfile.TemporaryDirectory()
_library = pathlib.Path(grpc_tools.__file__).parent / "_proto"
for _file in ("tidal/v1/inference.proto", "grpc/health/v1/health.proto"):
    _path = programs.ROOT / "proto" / _file
    # From its own folder, as a top-level module: a package "grpc" would hide the library's.
    if protoc.main(["protoc", f"-I{_path.parent}", f"-I{_library}", f"--python_out={_out.name}",
                    f"--grpc_python_out={_out.name}", str(_path)]) != 0:
        raise RuntimeError(f"protoc failed on {_file}")
sys.path.insert(0, _out.name)

import health_pb2  # noqa: E402
import health_pb2_grpc  # noqa: E402
import inference_pb2  # noqa: E402
import inference_pb2_grpc  # noqa: E402

__all__ = ["health_pb2", "health_pb2_grpc", "inference_pb2", "inference_pb2_grpc"]
