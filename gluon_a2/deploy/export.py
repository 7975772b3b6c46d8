"""Writing a network in all the forms that are wanted, each compared with the first before."""
import dataclasses
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

from ..data import Preprocessing
from ..engines import TABLE
from ..errors import UserError
from ..files import write_whole
from ..flags import check, option
from ..scoring.samples import calibration_batch, open_samples
from . import side_by_side
from .bundle import PARAMS, Bundle, read_meta, require_float32, write_bundle
from .classify import Classifier
from .fold import fold
from .onnx_graph import DYNAMIC, OPSET, WRITTEN

CALIBRATION, SAMPLES = 'min-max', 256  # of INT8, by default
FORMS, MEASURED = 'forms', 'what int8 is calibrated and the forms are compared on'


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The forms to write, and what they are measured on: `data_dir`, or the embedded set the
    network was trained on."""
    fold: bool = option(False, 'fold BatchNorms into convolutions where that is exact', group=FORMS)
    onnx: bool = option(False, 'also as ONNX', group=FORMS)
    onnx_dynamic: Optional[str] = option(
        None, f"its free axes, by default {DYNAMIC[0]}; batch: the size is the network's own, as "
        'small runtimes need it', choices=DYNAMIC, group=FORMS, needs=['onnx'])
    opset: Optional[int] = option(None, f'its operator set, by default {OPSET}', low=WRITTEN,
                                  group=FORMS, needs=['onnx'])
    torch: bool = option(False, 'also in PyTorch: weights, a module that builds the network, an '
                         'example', group=FORMS, excludes=['fold'])
    bf16: bool = option(False, 'also in bfloat16, for CPUs that compute in it', group=FORMS)
    int8: bool = option(False, 'also in INT8, for CPUs', group=FORMS)
    calibration: Optional[str] = option(None, f'of the ranges of int8, by default {CALIBRATION}',
                                        choices=('min-max', 'entropy'), group=FORMS, needs=['int8'])
    calibration_samples: Optional[int] = option(
        None, f'training samples they are taken from, by default {SAMPLES}', low=1, group=FORMS,
        needs=['int8'])
    data_dir: Optional[str] = option(None, 'folder of training and validation data; by default the '
                                     'embedded set it was trained on', group=MEASURED)
    batch_size: int = option(32, 'samples at a time', low=1, group=MEASURED)
    num_data_workers: int = option(2, 'processes that decode', low=0, short='-j', group=MEASURED)

    def __post_init__(self) -> None:
        check(self)
        if self.data_dir is not None and not self.measured:
            raise UserError('`data_dir` is for `int8` and `bf16`: add one, or leave it out')

    @property
    def onnx_form(self) -> Tuple[str, int]:
        """The last two arguments of `onnx.to_onnx`."""
        return self.onnx_dynamic or DYNAMIC[0], self.opset or OPSET

    @property
    def measured(self) -> bool:
        """Whether the forms are compared on data."""
        return self.int8 or self.bf16


def export(bundle: Bundle, prefix: Union[str, Path], wanted: Wanted) -> Iterator[Union[str, list]]:
    """Write `bundle` to `prefix` in the forms `wanted`; what the checks refuse is not written.

    Iterates over sentences, and lists of table rows, that say what came of it.
    """
    from . import parity
    prefix, original = Path(prefix), bundle
    if wanted.fold or wanted.onnx or wanted.torch or wanted.measured:
        require_float32(bundle)
    if wanted.fold:
        bundle, done, total = fold(bundle)
        wide, narrow = parity.fold_gap(original, bundle)
        yield (f'{done} of {total} BatchNorms folded: the logits differ by {wide:.1e} of the '
               f'largest, computed in float64 ({narrow:.1e} in float32)')
    onnx = None
    if wanted.onnx:
        from .onnx import to_onnx
        dynamic, opset = wanted.onnx_form
        onnx = to_onnx(bundle, dynamic, opset)
        gaps = parity.onnx_gaps(bundle, onnx)
        free = 'batch' if dynamic == 'batch' or bundle.meta.get('fixed') else 'batch and size'
        yield (f'ONNX opset {opset}, input data, output logits, dynamic {free}; largest difference '
               'from MXNet:')
        yield [['batch', 'size', 'difference'], *([gap.batch, gap.size, f'{gap.relative:.1e}']
                                                  for gap in gaps)]
    beside = {}
    if wanted.torch:
        from .pytorch import companions, to_torch
        beside = {f'{prefix.name}.safetensors': to_torch(bundle),
                  **companions(prefix.name, bundle.meta)}
        yield _compared_torch(bundle, beside[f'{prefix.name}.safetensors'])
    parts = ['train'] * wanted.int8 + ['val'] * wanted.measured
    samples = {part: open_samples(bundle.meta, wanted.data_dir, part) for part in parts}
    converted = dict(_converted(bundle, wanted, samples))
    sizes = {'mxnet': write_bundle(bundle, prefix, onnx)}
    yield f'{prefix}-symbol.json, {prefix.name}-0000.params, {prefix.name}-meta.json' + (
        f' and {prefix.name}.onnx' if wanted.onnx else '')
    for name, content in beside.items():
        write_whole(prefix.with_name(name), content)
    if beside:
        yield 'for PyTorch: ' + ', '.join(str(prefix.with_name(name)) for name in beside)
    origin = read_meta(prefix)['files'][prefix.name + PARAMS]['sha256']
    if samples and onnx is not None:
        sizes.update(mxnet=sizes['mxnet'] - len(onnx), onnxruntime=len(onnx))
    for engine, (form, as_onnx) in converted.items():
        path = prefix.with_name(prefix.name + TABLE[engine].suffix)
        form = form._replace(meta={**form.meta, 'made_from': origin})
        sizes[engine] = write_bundle(form, path, as_onnx)
        if as_onnx is not None:
            sizes[engine] -= len(as_onnx)
            sizes['onnxruntime-int8'] = len(as_onnx)
        yield f'{path}-symbol.json and so on'
    if samples:
        yield list(side_by_side.table(_compare(original, prefix, sizes, samples['val'], wanted)))


def _compared_torch(bundle: Bundle, content: bytes) -> str:
    """How far PyTorch's logits are from MXNet's, where it is installed."""
    from . import parity
    try:
        gap = max(gap.relative for gap in parity.torch_gaps(bundle, content))
    except ModuleNotFoundError:
        return 'PyTorch is not installed here, so its form is written without being compared'
    return f'PyTorch: the logits differ by {gap:.1e} of the largest'


def _converted(bundle: Bundle, wanted: Wanted,
               samples: Dict[str, Any]) -> Iterator[Tuple[str, Tuple[Bundle, Optional[bytes]]]]:
    """Iterate over (engine, (`Bundle`, the ONNX file beside it or None)) in other precisions."""
    from . import parity
    from .mxnet_engine import MXNetEngine
    from .precision import to_bf16, to_int8
    if wanted.bf16:
        form, side = to_bf16(bundle), bundle.meta['input_shape'][-1]
        MXNetEngine(form)(parity.photos(form.meta, 1, side))  # not every CPU can
        yield 'mxnet-bf16', (form, None)
    if wanted.int8:
        preprocessing = dataclasses.replace(Preprocessing.from_meta(bundle.meta),
                                            **_one_view(bundle.meta))
        images = calibration_batch(preprocessing, samples['train'],
                                   wanted.calibration_samples or SAMPLES)
        given, as_onnx = (bundle, images, wanted.calibration or CALIBRATION), None
        if wanted.onnx:
            from .onnx_int8 import to_onnx_int8
            as_onnx = to_onnx_int8(*given, *wanted.onnx_form)
        yield 'mxnet-int8', (to_int8(*given), as_onnx)


def _compare(original: Bundle, prefix: Path, sizes: Dict[str, int], source: Any,
             wanted: Wanted) -> List[side_by_side.Form]:
    """The forms just written, read back, beside what they were made from."""
    view, forms = _one_view(original.meta), {}
    if wanted.fold:
        forms['mxnet, not folded'] = Classifier(original, **view), sizes['mxnet']
    for engine, size in sizes.items():
        name = f'{engine}, folded' if wanted.fold and engine == 'mxnet' else engine
        forms[name] = Classifier(prefix, engine=engine, **view), size
    return side_by_side.compare(forms, source, wanted.batch_size, wanted.num_data_workers)


def _one_view(meta: dict) -> Dict[str, Any]:
    """A video is compared by its middle clip."""
    return {'views': 1, 'crops': 1} if len(meta['input_shape']) == 4 else {}
