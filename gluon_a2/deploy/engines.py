"""What can run an exported network, from pixels, float32 N×3×(T×)H×W, to logits N×classes.

| engine           | files it needs                                  | form of the export |
|------------------|-------------------------------------------------|--------------------|
| mxnet            | `<prefix>-symbol.json` and so on                | float32            |
| mxnet-fused      | the same, fused when they are opened            | float32            |
| mxnet-bf16       | `<prefix>-bf16-symbol.json` …                   | bf16               |
| mxnet-int8       | `<prefix>-int8-symbol.json` …                   | int8               |
| onnxruntime      | `<prefix>.onnx`, `<prefix>-meta.json`           | onnx               |
| onnxruntime-int8 | `<prefix>-int8.onnx`, `<prefix>-int8-meta.json` | onnx and int8      |

ONNX Runtime needs no MXNet; nothing here imports a runtime before it is asked for.
"""
from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import Preprocessing
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

SUFFIXES = {'mxnet': '', 'mxnet-fused': '', 'mxnet-bf16': '-bf16', 'mxnet-int8': '-int8',
            'onnxruntime': '', 'onnxruntime-int8': '-int8'}
ENGINES = tuple(SUFFIXES)


class Found(NamedTuple):
    """Files that were read and verified, not yet given to a runtime."""
    engine: str
    content: Any  # a `Bundle`, or the bytes of an ONNX file
    meta: dict
    source: str  # what messages call it


def find(path: str | Path, engine: str | None = None,
         preprocessing: Preprocessing | None = None) -> Found:
    """What `path`, a prefix or one of its files, stands for, read and verified.

    By default an .onnx file is for ONNX Runtime, and anything else for MXNet. A pair of symbol and
    params without metadata needs its `preprocessing`, which files with metadata must not be given.
    UserError for files that are not there, damaged or not what they say.
    """
    if engine is None:
        engine = 'onnxruntime' if str(path).endswith(ONNX) else 'mxnet'
    if engine not in SUFFIXES:
        raise UserError(f'unknown engine {engine!r}: choose one of {", ".join(ENGINES)}')
    base = bundle_prefix(path)
    suffix = '' if base.name.endswith(SUFFIXES[engine]) else SUFFIXES[engine]
    prefix = base.with_name(base.name + suffix)
    of_onnx = engine.startswith('onnxruntime')
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
    if source.engine.startswith('onnxruntime'):
        if mean_max or ctx is not None:
            raise UserError('mean-max pooling and GPUs are for MXNet: leave them out, or choose '
                            'the `engine` mxnet')
        return OnnxEngine(source.content, source.meta, features)
    from .mxnet_engine import MXNetEngine, mean_max_pooled
    bundle = mean_max_pooled(source.content) if mean_max else source.content
    fused = source.engine == 'mxnet-fused'
    if fused and ctx is not None and ctx.device_type != 'cpu':
        raise UserError('the `engine` mxnet-fused is oneDNN\'s, for CPUs: choose mxnet on a GPU')
    return MXNetEngine(bundle, ctx, source.source, features=features, fused=fused)


class OnnxEngine:
    """ONNX Runtime on the CPU, on as many threads as MXNet would take."""

    def __init__(self, content: bytes, meta: dict, features: bool = False):
        # read at its import: from 1.29 on it tells its maker which networks it runs
        os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError('running ONNX files needs ONNX Runtime: run pip install '
                            'onnxruntime') from error
        self.features: np.ndarray | None = None
        self._outputs = ['logits']
        if features:
            content, name = onnx_with_features(content, meta['network'])
            self._outputs.append(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = choose_threads()[0]
        self._session = onnxruntime.InferenceSession(content, options,
                                                     providers=['CPUExecutionProvider'])
        self._meta, self.classes = meta, len(meta['classes'])
        sizes = self._session.get_inputs()[0].shape[2:]  # a free one is a name
        self.fixed = all(isinstance(size, int) for size in sizes)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """float32 N×classes of float32 N×3×(T×)H×W; UserError for another size than the file's,
        where that is `fixed`."""
        if self.fixed and list(pixels.shape[1:]) != self._meta['input_shape']:
            raise UserError(f'the ONNX file of {self._meta["network"]} takes inputs of '
                            f'{"×".join(map(str, self._meta["input_shape"]))} only, not '
                            f'{"×".join(map(str, pixels.shape[1:]))}: export it again with all its '
                            'axes free')
        logits, *inner = self._session.run(self._outputs, {self._meta['input']: pixels})
        self.features = pooled(inner[0]) if inner else None
        return logits

    def memory(self, shape: Sequence[int]) -> int:
        """Bytes that one input of `shape`, 3×(T×)H×W, needs on its way: as the metadata says of
        its own size, or, of older files, what the input itself takes twice."""
        own = 4 * math.prod(self._meta['input_shape'])
        return self._meta.get('memory', 2 * own) * 4 * math.prod(shape) // own
