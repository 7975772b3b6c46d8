"""Where labelled images lie in a data folder: class folders, or ImageNet as it is distributed.

| part  | looked for, the first that is there is read                                |
|-------|----------------------------------------------------------------------------|
| train | train/, ILSVRC/Data/CLS-LOC/train/ (Kaggle), ILSVRC2012_img_train.tar      |
| val   | val/, ILSVRC/Data/CLS-LOC/val/, ILSVRC2012_img_val.tar                     |
| other | the folder of that name                                                    |

A folder holds class folders, or a tar for each class. That of val, and its tar, may hold images
only. Their classes are in the list that the user names, or in the first of `LISTS` that is there.
"""
from __future__ import annotations

import logging
import os
from typing import Any, Sequence

import numpy as np

from ..errors import UserError
from .classes import printable
from .listing import entries
from .sources import FlatSource, FolderSource, is_image_file
from .tars import TAR, TarSource, class_tars, flat_tar
from .val_labels import GROUND_TRUTH, read_val_labels

_log = logging.getLogger(__name__)

LISTS = ('LOC_val_solution.csv', GROUND_TRUTH, f'ILSVRC2012_devkit_t12/data/{GROUND_TRUTH}',
         'ILSVRC2012_devkit_t12.tar.gz')


def places(part: str) -> tuple[str, ...]:
    """Where the images of a part are looked for, below the data folder."""
    more = (f'ILSVRC/Data/CLS-LOC/{part}', f'ILSVRC2012_img_{part}.tar')
    return (part, *(more if part in ('train', 'val') else ()))


def open_images(data_dir: str, part: str, val_labels: str | None = None,
                classes: Sequence[str] | None = None, before: Sequence[str] = ()) -> Any:
    """A source of the images of `part` in a data folder.

    `val_labels` names the list of the classes of validation images that lie in no class folders;
    `classes` are those they may have, by default those of the list, sorted. `before` are names that
    were looked for in vain. UserError where there is nothing, or not what there should be.
    """
    there = [path for path in _join(data_dir, places(part)) if os.path.exists(path)]
    if not there:
        raise UserError(f"no {part} data in '{printable(data_dir)}': it holds none of "
                        f'{", ".join((*before, *places(part)))}; `data_dir` is the folder that '
                        'holds one of them')
    path, *others = there
    flat, listed = _flat(path, part, val_labels), None
    if flat is None:
        source: Any = _of_classes(path)
    else:
        listed = val_labels or _find_list(data_dir, path)
        source = _labelled(path, flat, listed, classes)
    if others or listed or not isinstance(source, FolderSource):
        _log.warning('%s images: %s%s%s', part, printable(path),
                     listed and f', classes: {printable(listed)}' or '',
                     others and f'; not read: {", ".join(map(printable, others))}' or '')
    return source


def _flat(path, part, val_labels):
    """The images of val that lie in no class folders: names, or members of a tar file; else None.

    UserError where a list is given and there are no such images.
    """
    if part != 'val' or not os.path.isdir(path):
        return flat_tar(path) if part == 'val' else None
    inside = entries(path)
    if val_labels is None and any(entry.is_dir() or entry.name.endswith(TAR) for entry in inside):
        return None
    found = [entry.name for entry in inside if is_image_file(entry)]
    if val_labels is not None and not found:
        raise UserError(f'{printable(path)} itself holds no images: leave out `val_labels` where '
                        'class folders hold them')
    return found or None


def _of_classes(path):
    """The source of a folder of class folders, or of tars of classes."""
    if not os.path.isdir(path):
        return class_tars(path)
    inside = entries(path)
    folders = {entry.name for entry in inside if entry.is_dir()}
    alone = {entry.name for entry in inside if entry.name.endswith(TAR)
             and entry.name[:-len(TAR)] not in folders}
    if folders and alone:
        raise UserError(f'{printable(path)} holds class folders and, without one, '
                        f'{printable(min(alone))}: extract it, or move it away')
    return class_tars(path) if alone else FolderSource(path)


def _find_list(data_dir, path):
    """The first of `LISTS` in the data folder."""
    for listed in _join(data_dir, LISTS):
        if os.path.exists(listed):
            return listed
    raise UserError(f'{printable(path)} holds images without class folders, and nothing in '
                    f'{printable(data_dir)} says their classes. Sort them into val/<class>/, put '
                    f'{LISTS[-1]} or {LISTS[0]} there, or write records, with `val_labels`')


def _labelled(path, flat, listed, classes):
    """The source of images, names or members of a tar file, whose classes are listed."""
    folder = os.path.isdir(path)
    names = flat if folder else [os.path.basename(member.name) for member in flat]
    found = read_val_labels(listed, names)
    classes = sorted(set(found)) if classes is None else classes
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise UserError(f'{printable(listed)} has {len(unknown)} classes that train lacks, such as '
                        f'{unknown[0]}')
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[name] for name in found])
    if folder:
        return FlatSource(path, names, labels, classes)
    return TarSource(path, flat, names, labels, classes)


def _join(data_dir, names):
    return [os.path.join(data_dir, *name.split('/')) for name in names]
