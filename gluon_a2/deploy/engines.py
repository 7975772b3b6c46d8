"""What can run an exported network: each takes pixels, float32 N×3×(T×)H×W, and gives logits,
float32 N×classes.

| engine      | files it needs                       | made by            |
|-------------|--------------------------------------|--------------------|
| mxnet       | `<prefix>-symbol.json` and so on     | scripts/export.py  |
| mxnet-bf16  | `<prefix>-bf16-symbol.json` …        | … --bf16           |
| mxnet-int8  | `<prefix>-int8-symbol.json` …        | … --int8           |
| onnxruntime | `<prefix>.onnx`, `<prefix>-meta.json`| … --onnx           |

ONNX Runtime needs no MXNet; nothing here imports a runtime before it is asked for.
"""
from pathlib import Path
from typing import NamedTuple

from ..data.preprocess import Preprocessing
from ..errors import UserError
from ..machine.resources import choose_threads
from .bundle import ONNX, PARAMS, BundleError, bundle_prefix, is_bare, read_bare, read_bundle, read_meta, read_verified

SUFFIXES = {'mxnet': '', 'mxnet-bf16': '-bf16', 'mxnet-int8': '-int8', 'onnxruntime': ''}
ENGINES = tuple(SUFFIXES)


class Found(NamedTuple):
    """Files that were read and verified, not yet given to a runtime."""
    engine: str
    content: object  # a `Bundle`, or the bytes of an ONNX file
    meta: dict
    source: str  # what messages call it


def find(path, engine=None, size=None):
    """What `path`, a prefix or one of its files, and the name of an engine stand for, read and
    verified.

    Where no engine is named, an .onnx file is for ONNX Runtime, anything else for MXNet. A pair of
    symbol and params without metadata is taken as an image network of our preprocessing; `size`,
    the side of its input, must be given.
    """
    if engine is None:
        engine = 'onnxruntime' if str(path).endswith(ONNX) else 'mxnet'
    if engine not in SUFFIXES:
        raise UserError(f'unknown engine {engine!r}: choose one of {", ".join(ENGINES)}')
    base = bundle_prefix(path)
    prefix = base if base.name.endswith(SUFFIXES[engine]) else base.with_name(base.name
                                                                              + SUFFIXES[engine])
    if engine == 'onnxruntime':
        meta = read_meta(prefix)
        return Found(engine, read_verified(prefix, ONNX, meta), meta, str(prefix) + ONNX)
    if not is_bare(prefix):
        bundle = read_bundle(prefix)
        if prefix != base:
            _check_origin(bundle.meta, base, prefix)
        return Found(engine, bundle, bundle.meta, str(prefix))
    from .mxnet_engine import check_sound
    bundle = read_bare(prefix, bare_meta(prefix, size))
    check_sound(bundle, str(prefix))
    return Found(engine, bundle, bundle.meta, str(prefix))


def _check_origin(meta, base, prefix):
    """BundleError where `prefix` was made from another network than the files at `base` now
    hold."""
    now = read_meta(base)['files'].get(base.name + PARAMS, {}).get('sha256')
    if meta.get('made_from') != now:
        raise BundleError(f'{prefix} was not made from the network that {base} is now: export it '
                          'again')


def bare_meta(prefix, size):
    """What is taken for granted of a network without metadata; its classes are not known yet, and
    will be numbers."""
    if size is None:
        raise UserError(f'{prefix} has no metadata ({Path(prefix).name}-meta.json): say the side '
                        'of its input, such as --size 224')
    return {
        'network': Path(prefix).name, 'classes': None, 'layout': 'NCHW', 'input': 'data',
        **Preprocessing(size).to_meta(), 'output': 'logits', 'features': None,
        'classifier': None, 'stride': [1, 1], 'precision': 'float32', 'training': {'data': 'not known'}
    }


def start(found, ctx=None, mean_max=False):
    """The engine of what was `found`, from pixels to logits. `ctx` is MXNet's context, the CPU
    where not given."""
    if found.engine == 'onnxruntime':
        if mean_max or ctx is not None:
            raise UserError('mean-max pooling and GPUs are for MXNet: leave them out, or choose '
                            '--engine mxnet')
        return OnnxEngine(found.content, found.meta)
    from .mxnet_engine import MXNetEngine, mean_max_pooled
    bundle = mean_max_pooled(found.content) if mean_max else found.content
    return MXNetEngine(bundle, ctx, found.source)


class OnnxEngine:
    """ONNX Runtime on the CPU, on as many threads as MXNet would take."""

    def __init__(self, content, meta):
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                'running ONNX files needs ONNX Runtime: pip install onnxruntime') from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = choose_threads()[0]
        self._session = onnxruntime.InferenceSession(content, options, providers=[
            'CPUExecutionProvider'
        ])
        self._input, self.classes = meta['input'], len(meta['classes'])

    def __call__(self, pixels):
        return self._session.run(['logits'], {self._input: pixels})[0]
