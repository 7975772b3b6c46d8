"""What a run trains and validates on: the sources, checked, and what is done to a sample of
them."""
import numpy as np

import gluon_a2.data as data

from ..errors import UserError
from ..files import sha256

EMBEDDED = {2: 'digits', 3: 'moving digits'}  # by the axes of a sample's space


def open_sources(recipe, options):
    """(training, validation) sources with labels checked: files or folders given, or the embedded
    set."""
    if options.synthetic_data:
        return [
            data.SyntheticSource(count, recipe.classes)
            for count in (options.synthetic_data * recipe.global_batch,
                          recipe.batch_size * recipe.ranks)
        ]
    pair = _videos(options) if recipe.frames else _images(options)
    for source in pair:
        data.check_labels(source, recipe.classes)
    names = pair[0].classes
    if len(names) != recipe.classes and any(name != str(label) for label, name in enumerate(names)):
        raise UserError(f'the data has {len(names)} classes and the network {recipe.classes}: '
                        f'give --classes {len(names)}')
    data.check_classes(pair[1], names)
    return pair


def _images(options):
    folder = options.data_dir
    if folder is None and options.rec_train is None:
        folder = data.digits_folder()
    return [data.RecordSource(rec, idx) if rec else data.open_source(folder, part)
            for part, rec, idx in (('train', options.rec_train, options.rec_train_idx),
                                   ('val', options.rec_val, options.rec_val_idx))]


def _videos(options):
    folder = options.data_dir
    if folder is None and options.list_train is None:
        folder = data.moving_digits_folder()
    return [
        data.open_video_source(folder, part, split=options.split, splits=options.splits,
                               video_list=video_list, list_format=options.list_format)
        for part, video_list in (('train', options.list_train), ('val', options.list_val))
    ]


def data_name(recipe, options):
    """What is trained on, for the record: the name of an embedded set, or a path."""
    return options.data or EMBEDDED[len(recipe.space)]


def class_names(recipe, source):
    """One name for each class of the recipe; classes the data has no name for are called by their
    number."""
    names = list(source.classes)[:recipe.classes]
    return names + [str(label) for label in range(len(names), recipe.classes)]


def fingerprint(source):
    """SHA-256 of a source's labels, in order, and class names: what a resumed run must find
    again."""
    return sha256(
        np.asarray(source.labels, np.int64).tobytes()
        + '\0'.join(source.classes).encode('utf-8', 'replace'))


def train_transform(recipe):
    """The recipe's augmentation."""
    if recipe.frames:
        return data.TrainClip(eval_transform(recipe), recipe.max_scale, recipe.min_aspect,
                              recipe.max_aspect, recipe.mirror, recipe.hue, recipe.saturation, recipe.lightness)
    return data.TrainTransform(eval_transform(recipe), recipe.min_area, recipe.max_area,
                               recipe.min_aspect, recipe.max_aspect, recipe.mirror, recipe.hue,
                               recipe.saturation, recipe.lightness)


def eval_transform(recipe):
    """What validation sees: the centre, for video of one clip in the middle."""
    if recipe.frames:
        return data.ClipPreprocessing(recipe.input_size, recipe.crop_ratio, frames=recipe.frames,
                                      frame_stride=recipe.frame_stride)
    return data.Preprocessing(recipe.input_size, recipe.crop_ratio)
