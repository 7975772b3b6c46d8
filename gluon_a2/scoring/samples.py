"""The labelled images or videos that an exported network is scored, compared and calibrated on."""
import numpy as np

from .. import data
from ..errors import UserError


def open_samples(meta, data_dir=None, part='val', split=None, splits=None, video_list=None,
                 list_format=None):
    """A source of the part `part` of `data_dir`, or of the embedded set a network was trained on,
    checked against its classes. The last four are of videos, as in `data.open_video_source`;
    `split` is the one trained on where not given.

    UserError where there is no such source, where it is not what the network tells apart, and for
    another split of UCF-101 than the network was trained on, which holds videos it has seen.
    """
    clips, trained, own = len(
        meta['input_shape']) == 4, meta['training']['data'], meta['training'].get('split')
    if own is not None and split not in (None, own):
        raise UserError(f'the network was trained on split {own} of UCF-101, and --split {split} '
                        f'holds videos it has seen: score it with --split {own}')
    embedded = {'digits': data.digits_folder, 'moving digits': data.moving_digits_folder}
    folder = data_dir
    if folder is None and video_list is None:
        if trained not in embedded:
            raise UserError(f'--data-dir is missing: the network was trained on {trained}')
        folder = embedded[trained]()
    if clips:
        source = data.open_video_source(folder, part, split=own if split is None else split,
                                        splits=splits, video_list=video_list,
                                        list_format=list_format)
    else:
        source = data.open_source(folder, part)
    data.check_labels(source, len(meta['classes']))
    data.check_classes(source, meta['classes'])
    return source


def calibration_batch(classifier, source, count):
    """float32 n×3×(T×)size×size: `count` samples of `source` drawn without regard to their order,
    as they are scored.

    UserError where one cannot be read.
    """
    indices = data.epoch_order(len(source), 0, 0)[:count]
    with data.Loader(source, classifier.transform, 0) as loader:
        (batch,) = loader.load([np.sort(indices)], 0)
    if batch.damaged:
        raise UserError(
            '{} cannot be read: {}; take it out of the calibration data'.format(*batch.damaged[0]))
    return batch.images
