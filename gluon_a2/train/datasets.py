"""What a run trains and validates on: checked sources, and the transform of their samples."""
from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np

from .. import data
from ..errors import UserError
from ..files import sha256
from ..run.network import preprocessing
from ..run.options import Options
from ..run.recipes import Recipe

log = logging.getLogger(__name__)


def open_sources(recipe: Recipe, options: Options) -> list:
    """[training, validation] sources with labels checked: those given, or the embedded set."""
    if options.synthetic_data:
        return [data.SyntheticSource(options.synthetic_data * recipe.global_batch, recipe.classes),
                data.SyntheticSource(recipe.batch_size * recipe.ranks, recipe.classes)]
    train, val = _open(recipe, options, 'train'), _open(recipe, options, 'val')
    data.check_labels(train, recipe.classes)
    _check_class_count(train, recipe, options)
    data.match_classes(val, class_names(recipe, train), named=train.named)
    data.warn_of_counts(train.classes, {'train': train.labels, 'val': val.labels})
    return [train, val]


def _open(recipe: Recipe, options: Options, part: str) -> Any:
    return data.open_source(
        options.data_dir, part, video=recipe.frames > 0, rec=getattr(options, f'rec_{part}'),
        idx=getattr(options, f'rec_{part}_idx'), video_list=getattr(options, f'list_{part}'),
        embedded=recipe.embedded, list_format=options.list_format, split=options.split,
        splits=options.splits)


def _check_class_count(source: Any, recipe: Recipe, options: Options) -> None:
    """UserError where data that names its classes has not as many as the network."""
    names, classes = source.classes, recipe.classes
    if len(names) < 2:
        raise UserError(f'all the training data is of one class, {names[0]}: there is nothing to '
                        'tell apart, so add the data of another class')
    if len(names) == classes:
        return
    if options.data is None:
        raise UserError(f'no data is given, and the embedded {data_name(recipe, options)} have '
                        f'{len(names)} classes, not {classes}: give `data_dir`, or choose the '
                        f'recipe {"moving_digits" if recipe.frames else "digits"}')
    if source.named:
        raise UserError(f'the data has {len(names)} classes and the network {classes}: give '
                        f'`classes` {len(names)}')
    log.warning('the data has labels up to %d and names no classes; the network has %d classes',
                len(names) - 1, classes)


def data_name(recipe: Recipe, options: Options) -> str:
    """What is trained on, for the record: the name of an embedded set, or a path."""
    return options.data or recipe.embedded or data.embedded_name(bool(recipe.frames))


def class_names(recipe: Recipe, source: Any) -> list[str]:
    """A name for each class of the recipe; classes the data does not name are numbers."""
    names = list(source.classes)[:recipe.classes]
    return names + [str(label) for label in range(len(names), recipe.classes)]


def fingerprint(source: Any) -> str:
    """SHA-256 of a source's labels and class names, which a resumed run must find again."""
    return sha256(
        np.asarray(source.labels, np.int64).tobytes()
        + '\0'.join(source.classes).encode('utf-8', 'replace'))


def train_transform(recipe: Recipe) -> Any:
    """The recipe's augmentation."""
    augmentation: Any = data.TrainClip if recipe.frames else data.TrainTransform
    _, *fields = dataclasses.fields(augmentation)  # the first is the preprocessing
    return augmentation(eval_transform(recipe), **{field.name: getattr(recipe, field.name)
                                                   for field in fields})


def eval_transform(recipe: Recipe) -> data.Preprocessing:
    """What validation sees: the center, for video of one clip in the middle."""
    return preprocessing(dataclasses.replace(recipe, views=1, crops=1))
