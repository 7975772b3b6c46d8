"""The labelled images or videos that an exported network is scored, compared and calibrated on."""
from __future__ import annotations

from typing import Any

import numpy as np

from .. import data
from ..errors import UserError


def open_samples(meta: dict, data_dir: str | None = None, part: str = 'val',
                 split: int | None = None, splits: str | None = None,
                 video_list: str | None = None, list_format: str | None = None) -> Any:
    """A source of the part `part` of `data_dir`, or of the embedded set a network was trained on,
    with the labels that the network gives its classes.

    The last four are of videos, as in `data.open_video_source`; `split` is by default the one
    trained on. UserError where there is no such source, or where it is not what the network tells
    apart. Another split of UCF-101 than the network was trained on is refused, too, because it
    holds videos that the network has seen.
    """
    video, trained = len(meta['input_shape']) == 4, meta['training']
    lists: dict[str, Any] = {'split': split, 'splits': splits, 'video_list': video_list,
                             'list_format': list_format}
    for name, value in lists.items():
        if value is not None and not video:
            raise UserError(f'`{name.replace("video_", "")}` is for videos: leave it out for '
                            f'{meta["network"]}')
    own = trained.get('split')
    if own is not None and split not in (None, own):
        raise UserError(f'the network was trained on split {own} of UCF-101, and `split` {split} '
                        f'holds videos it has seen: score it with `split` {own}')
    if data_dir is None and video_list is None and not on_embedded(meta):
        raise UserError('`data_dir` is missing: the network was trained on '
                        f'{trained.get("data", "unknown data")}')
    if video:
        lists['split'] = own if split is None else split
    source = data.open_source(data_dir, part, video=video, embedded=trained.get('data'),
                              **(lists if video else {}))
    data.match_classes(source, meta['classes'], named=has_names(meta))
    return source


def on_embedded(meta: dict) -> bool:
    """Whether a network was trained on an embedded set."""
    return meta['training'].get('data') in data.EMBEDDED


def has_names(meta: dict) -> bool:
    """Whether the network's classes have names, even such as digits; older files do not say."""
    return meta['training'].get('named', on_embedded(meta))


def calibration_batch(preprocessing: data.Preprocessing, source: Any, count: int) -> np.ndarray:
    """float32 n×3×(T×)size×size: `count` samples of `source`, in a random but fixed order, as they
    are scored.

    UserError where one cannot be read.
    """
    indices = data.epoch_order(len(source), 0, 0)[:count]
    with data.Loader(source, preprocessing, 0) as loader:
        (batch,) = loader.load([np.sort(indices)], 0)
    if batch.damaged:
        name, reason = batch.damaged[0]
        raise UserError(f'{name} cannot be read: {reason}; take it out of the calibration data')
    return batch.images
