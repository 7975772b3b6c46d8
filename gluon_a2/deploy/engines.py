"""What can run an exported network, from pixels, float32 N×3×(T×)H×W, to logits N×classes.

`gluon_a2.engines.TABLE` has a row for each engine. Those of ONNX files need no MXNet; nothing here
imports a runtime before it is asked for.
"""
from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import Preprocessing
from ..engines import ENGINES, TABLE, Engine
from ..errors import UserError
from ..machine.resources import choose_threads
from .bundle import (
    ONNX,
    bundle_prefix,
    check_origin,
    is_bare,
    read_bundle,
    read_meta,
    read_verified,
)
from .features import onnx_with_features, pooled


class Found(NamedTuple):
    """Files that were read and verified, not yet given to a runtime."""
    engine: str
    content: Any  # a `Bundle`, or the bytes of an ONNX file
    meta: dict
    source: str  # what messages call it


def fastest(path: str | Path, size: int | None = None, ctx: Any = None,
            inner: bool = False) -> str:
    """The engine that is the fastest of the exact ones (benchmarks/peers.py) for what `path` names.

    ONNX Runtime for an .onnx file, and for a prefix that has one. It may not serve another size, a
    GPU, or what is `inner` to the network (mean-max pooling, features). There it is MXNet, fused
    where it computes float32 on the CPU and has oneDNN. A name of MXNet's own files asks for MXNet;
    files without metadata run as they are.
    """
    prefix = bundle_prefix(path)
    if str(path).endswith(ONNX):
        return 'onnxruntime'
    if is_bare(prefix):
        return 'mxnet'
    meta = read_meta(prefix)
    special = ctx is not None or inner or size not in (None, meta['input_shape'][-1])
    if not special and prefix == Path(path) and prefix.name + ONNX in meta['files']:
        return 'onnxruntime'
    fusible = meta['precision'] == 'float32' and getattr(ctx, 'device_type', 'cpu') == 'cpu'
    return 'mxnet-fused' if fusible and _has_onednn() else 'mxnet'


def _has_onednn() -> bool:
    from ..backend import mx
    return mx.runtime.Features().is_enabled('MKLDNN')


def find(path: str | Path, engine: str | None = None,
         preprocessing: Preprocessing | None = None) -> Found:
    """What `path`, a prefix or one of its files, stands for, read and verified.

    `engine` is the `fastest` by default. A pair of symbol and params without metadata needs its
    `preprocessing`, which files with metadata must not be given. UserError for files that are not
    there, damaged or not what they say.
    """
    engine = engine or fastest(path)
    if engine not in TABLE:
        raise UserError(f'unknown engine {engine!r}: choose one of {", ".join(ENGINES)}')
    row, base = TABLE[engine], bundle_prefix(path)
    suffix = '' if base.name.endswith(row.suffix) else row.suffix
    prefix = base.with_name(base.name + suffix)
    of_onnx = row.runtime != 'mxnet'
    if is_bare(prefix) and not of_onnx:
        if preprocessing is None:
            raise UserError(f'{prefix} has no metadata, so nothing says how its pixels are '
                            'prepared: give its `preprocessing`')
        from .mxnet_engine import open_bare
        bundle = open_bare(prefix, preprocessing)
        return Found(engine, bundle, bundle.meta, str(prefix))
    if preprocessing is not None:
        raise UserError(f'{prefix} has metadata, which says how its pixels are prepared: leave out '
                        '`preprocessing`')
    content = None if of_onnx else read_bundle(prefix)
    meta = read_meta(prefix) if content is None else content.meta
    if prefix != base:
        check_origin(meta, base, prefix)
    if content is None:
        return Found(engine, read_verified(prefix, ONNX, meta), meta, f'{prefix}{ONNX}')
    return Found(engine, content, meta, str(prefix))


def start(source: Found | Any, ctx: Any = None, mean_max: bool = False,
          features: bool = False) -> Any:
    """The engine of what was found, or of a `Bundle`; `ctx` is MXNet's, the CPU by default.

    With `features`, its attribute of that name is what entered the classifier in its last call.
    """
    if mean_max and features:
        raise UserError('mean-max pooling has no one vector that enters the classifier: leave out '
                        '`features`')
    if not isinstance(source, Found):
        source = Found('mxnet', source, source.meta, source.meta['network'])
    row = TABLE[source.engine]
    if row.runtime != 'mxnet':
        if mean_max or ctx is not None:
            raise UserError('mean-max pooling and GPUs are for MXNet: leave them out, or choose '
                            'the `engine` mxnet')
        return OnnxFile(source.content, source.meta, features, row)
    from .mxnet_engine import MXNetEngine, mean_max_pooled
    bundle = mean_max_pooled(source.content) if mean_max else source.content
    fused = source.engine == 'mxnet-fused'
    if fused and ctx is not None and ctx.device_type != 'cpu':
        raise UserError('the `engine` mxnet-fused is oneDNN\'s, for CPUs: choose mxnet on a GPU')
    return MXNetEngine(bundle, ctx, source.source, features=features, fused=fused)


class OnnxFile:
    """An ONNX file on the CPU, on as many threads as MXNet would take."""

    def __init__(self, content: bytes, meta: dict, features: bool = False,
                 engine: Engine = TABLE['onnxruntime']):
        self.features: np.ndarray | None = None
        outputs = ['logits']
        if features:
            content, name = onnx_with_features(content, meta['network'])
            outputs.append(name)
        self._meta, self.classes = meta, len(meta['classes'])
        open_file = {'onnxruntime': _in_onnxruntime, 'openvino': _in_openvino}[engine.runtime]
        self._run, sizes = open_file(content, outputs, meta['input'], engine.precision)
        self.fixed = all(isinstance(size, int) for size in sizes)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """float32 N×classes of float32 N×3×(T×)H×W; UserError for another size than the file's,
        where that is `fixed`."""
        if self.fixed and list(pixels.shape[1:]) != self._meta['input_shape']:
            raise UserError(f'the ONNX file of {self._meta["network"]} takes inputs of '
                            f'{"×".join(map(str, self._meta["input_shape"]))} only, not '
                            f'{"×".join(map(str, pixels.shape[1:]))}: export it again with all its '
                            'axes free')
        logits, *inner = self._run(pixels)
        self.features = pooled(inner[0]) if inner else None
        return logits

    def memory(self, shape: Sequence[int]) -> int:
        """Bytes that one input of `shape`, 3×(T×)H×W, needs on its way.

        It is scaled from what the metadata says. Older files say nothing: there it is the input
        twice.
        """
        own = 4 * math.prod(self._meta['input_shape'])
        return self._meta.get('memory', 2 * own) * 4 * math.prod(shape) // own


def _in_onnxruntime(content: bytes, outputs: list, name: str,
                    precision: str) -> tuple[Callable, list]:
    """(a function of pixels to the arrays of `outputs`, the sizes of the input `name`, of which a
    free one is no int)."""
    # read at its import: from 1.29 on it tells its maker which networks it runs
    os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError('running ONNX files needs ONNX Runtime: run pip install '
                        'onnxruntime') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = choose_threads()[0]
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    return lambda pixels: session.run(outputs, {name: pixels}), session.get_inputs()[0].shape[2:]


def _in_openvino(content: bytes, outputs: list, name: str,
                 precision: str) -> tuple[Callable, list]:
    """The same; `precision` is what a float32 file is computed in."""
    try:
        import openvino
        import openvino.properties.hint
    except ImportError as error:
        raise UserError('the `engine` openvino needs OpenVINO: run pip install '
                        'openvino') from error
    core, of = openvino.Core(), openvino.properties
    if precision == 'bf16' and 'BF16' not in core.get_property('CPU', of.device.capabilities):
        raise UserError('OpenVINO computes bfloat16 only on CPUs that have it, and this one has '
                        'not: choose the `engine` openvino')
    network = core.compile_model(core.read_model(content), 'CPU', {
        of.inference_num_threads: choose_threads()[0], of.hint.inference_precision: precision})
    requests = threading.local()  # one must not serve two threads at a time

    def run(pixels):
        if not hasattr(requests, 'own'):
            requests.own = network.create_infer_request()
        found = requests.own.infer([pixels])
        return [found[output] for output in outputs]

    return run, [size.get_length() if size.is_static else None
                 for size in network.input().partial_shape][2:]
