"""Opening a run, or exported files, for use: as a `Bundle` or as a `Classifier`.

MXNet is imported only where a run's network is built, so that an .onnx file needs none.
"""
from __future__ import annotations

from pathlib import Path

from ..deploy.bundle import Bundle, read_bundle
from ..deploy.classify import Classifier
from ..errors import UserError
from . import checkpoint


def load(source: str | Path, which: str | None = None) -> Bundle:
    """The `Bundle` of exported files, or of a checkpoint: `source` a run's folder, `which` 'last',
    'best' or a path."""
    folder = Path(source)
    if folder.is_dir():
        exported = sorted(folder.glob('*-meta.json'))
        if exported:
            raise UserError(f'{source} is a folder of exported files: name one of them, such as '
                            f'{exported[0]}')
        from .network import restored
        return restored(checkpoint.find(folder / 'checkpoints', which or 'last'))
    if which is not None:
        raise UserError(f'`checkpoint` {which} needs the folder of a run: {source} is an exported '
                        'network, one checkpoint already')
    return read_bundle(source)


def classifier(source: str | Path, which: str | None = None, engine: str | None = None,
               num_gpus: int = 0, **options) -> Classifier:
    """A `deploy.Classifier` of what `load` takes, or of exported files in another form, which
    `engine` names.

    `options` are those of `Classifier`.
    """
    exported = which is None and not Path(source).is_dir()
    if engine is not None and not exported:
        raise UserError(f'`engine` is for exported files: export {source} first')
    if num_gpus:
        from ..backend import device
        options['ctx'] = device(num_gpus)
    return Classifier(source if exported else load(source, which), engine=engine, **options)
