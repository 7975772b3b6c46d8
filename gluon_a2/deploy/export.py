"""Writing a network in all the forms that are wanted, each held against the first before it
counts."""
import dataclasses
from pathlib import Path
from typing import Optional

from ..scoring.samples import calibration_batch, open_samples
from . import parity, side_by_side
from .bundle import PARAMS, read_meta, require_float32, write_bundle
from .classify import Classifier
from .engines import SUFFIXES
from .fold import fold


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The forms to write, and what they are measured on: `data_dir`, or the embedded set the
    network was trained on."""
    fold: bool = False
    onnx: bool = False
    bf16: bool = False
    int8: bool = False
    calibration: str = 'min-max'
    calibration_samples: int = 256
    data_dir: Optional[str] = None
    batch_size: int = 32
    workers: int = 2

    @property
    def forms(self):
        """Whether anything but a plain copy is wanted."""
        return self.fold or self.onnx or self.bf16 or self.int8


def export(bundle, prefix, wanted):
    """Write `bundle` to `prefix` in the forms `wanted`; what the checks refuse is not written.

    Iterates over sentences, and lists of table rows, that say what came of it.
    """
    prefix, original = Path(prefix), bundle
    if wanted.forms:
        require_float32(bundle)
    if wanted.fold:
        bundle, done, total = fold(bundle)
        wide, narrow = parity.fold_gap(original, bundle)
        yield (f'{done} of {total} BatchNorms folded: the logits differ by {wide:.1e} of the '
               f'largest, computed in float64 ({narrow:.1e} in float32)')
    onnx = None
    if wanted.onnx:
        from .onnx import OPSET, to_onnx
        onnx = to_onnx(bundle)
        gaps = parity.onnx_gaps(bundle, onnx)
        yield f'ONNX opset {OPSET}, input data, output logits, dynamic batch; largest difference from MXNet:'
        yield [['batch', 'size', 'difference'], *([gap.batch, gap.size, f'{gap.relative:.1e}']
                                                  for gap in gaps)]
    samples = {
        part: open_samples(bundle.meta, wanted.data_dir, part)
        for part in (['train'] if wanted.int8 else [])
        + (['val'] if wanted.int8 or wanted.bf16 else [])
    }
    converted = dict(_converted(bundle, wanted, samples))
    sizes = {'mxnet': write_bundle(bundle, prefix, onnx)}
    yield f'{prefix}-symbol.json, {prefix.name}-0000.params, {prefix.name}-meta.json' + (
        f' and {prefix.name}.onnx' if wanted.onnx else '')
    origin = read_meta(prefix)['files'][prefix.name + PARAMS]['sha256']
    for engine, form in converted.items():
        path = prefix.with_name(prefix.name + SUFFIXES[engine])
        sizes[engine] = write_bundle(form._replace(meta={**form.meta, 'made_from': origin}), path)
        yield f'{path}-symbol.json and so on'
    if samples:
        if wanted.onnx:
            sizes['onnxruntime'] = len(onnx)
            sizes['mxnet'] -= len(onnx)
        yield list(side_by_side.table(_compare(original, prefix, sizes, samples['val'], wanted)))


def _converted(bundle, wanted, samples):
    """Iterate over (engine, `Bundle`) in other precisions."""
    from .precision import to_bf16, to_int8
    if wanted.bf16:
        yield 'mxnet-bf16', to_bf16(bundle)
    if wanted.int8:
        images = calibration_batch(Classifier(bundle, **_one_view(bundle.meta)), samples['train'],
                                   wanted.calibration_samples)
        yield 'mxnet-int8', to_int8(bundle, images, wanted.calibration)


def _compare(original, prefix, sizes, source, wanted):
    """The forms just written, read back, beside what they were made from."""
    view = _one_view(original.meta)
    forms = {'mxnet, not folded': (Classifier(original, **view),
                                   sizes['mxnet'])} if wanted.fold else {}
    for engine, size in sizes.items():
        name = f'{engine}, folded' if wanted.fold and engine == 'mxnet' else engine
        forms[name] = Classifier(str(prefix), engine=engine, **view), size
    return side_by_side.compare(forms, source, wanted.batch_size, wanted.workers)


def _one_view(meta):
    """A video is compared by its middle clip."""
    return {'views': 1, 'crops': 1} if len(meta['input_shape']) == 4 else {}
