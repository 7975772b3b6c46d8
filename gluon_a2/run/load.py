"""Opening a run, or exported files, for use: as a `Bundle` or as a `Classifier`.

MXNet is imported only where it is needed, so that an .onnx file is used without it.
"""
import dataclasses
from pathlib import Path
from typing import Any, Optional, Tuple, Union

from ..data import Preprocessing
from ..data.preprocess import INTERPOLATIONS, of_bytes
from ..deploy import engines
from ..deploy.bundle import META, ONNX, PARAMS, SYMBOL, Bundle, bundle_prefix, is_bare
from ..deploy.classify import Classifier
from ..errors import UserError
from ..flags import check, option

BARE = 'files without metadata, as plain MXNet and GluonCV write them'


@dataclasses.dataclass(frozen=True)
class Stated:
    """What a user says of preprocessing: another crop, or all of it, of files without metadata."""
    size: Optional[int] = option(None, 'side of the crop, pixels; by default that of training',
                                 low=1)
    crop_ratio: Optional[float] = option(None, 'side of the crop over the resized short side',
                                         above=0, high=1)
    mean: Optional[Tuple[float, ...]] = option(None, 'mean of the pixels', metavar='R,G,B',
                                               group=BARE)
    std: Optional[Tuple[float, ...]] = option(None, 'their standard deviation', above=0,
                                              metavar='R,G,B', group=BARE, excludes=['scale'])
    scale: Optional[Tuple[float, ...]] = option(
        None, 'instead of std: what multiplies the pixels less the mean, 3 numbers or 1', above=0,
        metavar='R,G,B', group=BARE)
    pixels: Optional[int] = option(
        None, 'mean, std and scale are of pixels from 0 to this (GluonCV: 1)', choices=(1, 255),
        group=BARE)
    interpolation: Optional[str] = option(None, 'how images are resized, by default bicubic',
                                          choices=tuple(INTERPOLATIONS), group=BARE)

    def __post_init__(self) -> None:
        check(self)
        for name in ('mean', 'std', 'scale'):
            values = getattr(self, name)
            if values is not None and len(values) not in ((1, 3) if name == 'scale' else (3,)):
                raise UserError(f'`{name}` must be three numbers, for R, G and B, not '
                                f'{len(values)}')

    def preprocessing(self, source: Union[str, Path]) -> Optional[Preprocessing]:
        """That of a pair of files without metadata; None for all that says it itself. UserError
        where something is missing, or said twice."""
        if not is_bare(source):
            for name in ('mean', 'std', 'scale', 'pixels', 'interpolation'):
                if getattr(self, name) is not None:
                    raise UserError(f'`{name}` is for files without metadata, and {source} says '
                                    'how its pixels are prepared: leave it out')
            return None
        missing = [f'`{name}`' for name in ('size', 'mean', 'pixels') if not getattr(self, name)]
        missing += [] if self.std or self.scale else ['`std` or `scale`']
        if missing:
            raise UserError(
                f'{source} has no metadata, so nothing says how its pixels are prepared: give '
                f'{", ".join(missing)}. GluonCV\'s ImageNet networks take `size` 224, `mean` '
                '0.485,0.456,0.406, `std` 0.229,0.224,0.225, `pixels` 1 and `interpolation` '
                'bilinear')
        said: Any = self  # nothing that is needed is None
        mean, scale = of_bytes(said.mean, said.scale or [1 / value for value in said.std],
                               said.pixels)
        scale *= 3 // len(scale)
        return Preprocessing(said.size, said.crop_ratio or Preprocessing.crop_ratio, mean, scale,
                             said.interpolation or Preprocessing.interpolation)


def load(source: Union[str, Path], which: Optional[str] = None,
         stated: Optional[Stated] = None) -> Bundle:
    """The `Bundle` of exported files, or of a checkpoint `which` ('last', 'best' or a path) of a
    run's folder. Only a pair of files without metadata takes, and needs, what is `stated`."""
    folder, stated = Path(source), stated or Stated()
    preprocessing = stated.preprocessing(source)
    for name in ('size', 'crop_ratio'):
        if preprocessing is None and getattr(stated, name) is not None:
            raise UserError(f'`{name}` is for files without metadata here, and {source} says its '
                            'own: leave it out')
    if folder.is_dir():
        exported = sorted(folder.glob('*-meta.json'))
        if exported:
            raise UserError(f'{source} is a folder of exported files: name one of them, such as '
                            f'{exported[0]}')
        from .. import backend  # noqa: F401 (its absence comes before that of safetensors)
        from . import checkpoint
        from .network import restored
        return restored(checkpoint.find(folder / 'checkpoints', which or 'last'))
    _check_files(source, which)
    return engines.find(source, 'mxnet', preprocessing).content


def _check_files(source: Union[str, Path], which: Optional[str]) -> None:
    """UserError for a checkpoint of exported files, and for the name of a network without files."""
    prefix = bundle_prefix(source)
    if which is not None:
        raise UserError(f'`checkpoint` {which} needs the folder of a run: {source} is an exported '
                        'network, one checkpoint already')
    if prefix.parent.name or any(prefix.with_name(prefix.name + ending).exists()
                                 for ending in (SYMBOL, PARAMS, META, ONNX)):
        return
    try:
        from ..models.table import find_row
        name = find_row(str(source)).name
    except UserError:  # no such network, or no MXNet to know its networks by
        return
    raise UserError(f'{source} is a network of the zoo, and there are no files of that name. Give '
                    f'the folder of a run, or the prefix of exported files, such as '
                    f'runs/digits/export/{name.rpartition(":")[2]}')


def classifier(source: Union[str, Path], which: Optional[str] = None,
               stated: Optional[Stated] = None, engine: Optional[str] = None, num_gpus: int = 0,
               **options: Any) -> Classifier:
    """A `deploy.Classifier` of what `load` takes, or of exported files in another form, which
    `engine` names. `options` are further ones of `Classifier`."""
    stated = stated or Stated()
    if engine is not None and Path(source).is_dir():
        raise UserError(f'`engine` is for exported files: export {source} first')
    if num_gpus:
        from ..backend import device
        options['ctx'] = device(num_gpus)
    options.update(size=stated.size, crop_ratio=stated.crop_ratio)
    preprocessing = stated.preprocessing(source)
    if Path(source).is_dir():
        return Classifier(load(source, which), **options)
    _check_files(source, which)
    return Classifier(source, engine=engine, preprocessing=preprocessing, **options)
