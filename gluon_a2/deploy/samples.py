"""The labelled images or videos that an exported network is scored, compared and calibrated on."""
import numpy as np

from .. import data
from ..errors import UserError


def open_samples(meta, data_dir=None, part='val'):
    """A source of the part `part` of `data_dir`, or of the embedded set a network was trained on, checked against its
    classes. UserError where there is none, or where it is not what the network tells apart.
    """
    clips, trained = len(meta['input_shape']) == 4, meta['training']['data']
    embedded = {'digits': data.digits_folder, 'moving digits': data.moving_digits_folder}
    if data_dir is None and trained not in embedded:
        raise UserError(f'--data-dir is missing: the network was trained on {trained}')
    folder = embedded[trained]() if data_dir is None else data_dir
    if clips:
        source = data.open_video_source(folder, part, split=meta['training'].get('split'))
    else:
        source = data.open_source(folder, part)
    data.check_labels(source, len(meta['classes']))
    data.check_classes(source, meta['classes'])
    return source


def calibration_batch(classifier, source, count):
    """float32 n×3×(T×)size×size: `count` samples of `source` drawn without regard to their order, as they are scored.

    UserError where one cannot be read.
    """
    indices = data.epoch_order(len(source), 0, 0)[:count]
    with data.Loader(source, classifier.transform, 0) as loader:
        (batch,) = loader.load([np.sort(indices)], 0)
    if batch.damaged:
        raise UserError('{} cannot be read: {}; take it out of the calibration data'.format(*batch.damaged[0]))
    return batch.images
