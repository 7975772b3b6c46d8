"""The engines that run exported networks, as rows; it imports nothing, so that flags can name
them."""
from __future__ import annotations

from typing import NamedTuple


class Engine(NamedTuple):
    """What answers for exported files: a runtime, the files it reads, its precision."""

    runtime: str  # 'mxnet', or the package that reads ONNX files
    suffix: str = ''  # of the prefix of its files
    precision: str = 'f32'  # what OpenVINO computes in where the file is float32


TABLE = {
    'mxnet': Engine('mxnet'),  # in the precision of its files
    'mxnet-fused': Engine('mxnet'),  # from float32 files, folded and fused when they are opened
    'mxnet-bf16': Engine('mxnet', '-bf16'),
    'mxnet-int8': Engine('mxnet', '-int8'),
    'onnxruntime': Engine('onnxruntime'),
    'onnxruntime-int8': Engine('onnxruntime', '-int8'),
    'openvino': Engine('openvino'),
    'openvino-bf16': Engine('openvino', precision='bf16'),  # from the float32 file
    'openvino-int8': Engine('openvino', '-int8'),
}
ENGINES = tuple(TABLE)
