"""Whether a network in another form is still the same: logits side by side on real pixels."""
from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..backend import mx
from ..data import Preprocessing, photo_batch
from ..errors import UserError
from .bundle import Bundle
from .engines import OnnxFile
from .mxnet_engine import MXNetEngine

TOLERANCE = 1e-4  # both sides in float32
ROUNDINGS = 10  # or so many times as far as float32 rounds MXNet's own logits off
# both sides in float64, so that only the folding and the rounding of its weights are seen
FOLD_TOLERANCE = 1e-5


class Gap(NamedTuple):
    """The largest difference of two networks' logits on one batch, over the largest logit."""
    batch: int
    size: int
    relative: float


def onnx_gaps(bundle: Bundle, content: bytes) -> list[Gap]:
    """A `Gap` for each batch of photographs, ONNX Runtime beside MXNet: batches of 1 and 8 (clips:
    2), at the network's own size and, where it takes others, at 10/7 of it (224 and 320).

    UserError at the first above `TOLERANCE`, unless the network is one that float32 rounds as
    far off by itself.
    """
    return _gaps(bundle, OnnxFile(content, bundle.meta), 'ONNX', '`onnx`')


def torch_gaps(bundle: Bundle, content: bytes) -> list[Gap]:
    """The same of the PyTorch form; ModuleNotFoundError without PyTorch."""
    from .pytorch import TorchEngine
    return _gaps(bundle, TorchEngine(content), 'PyTorch', '`torch`')


def _gaps(bundle, other, form, option):
    own, clips = bundle.meta['input_shape'][-1], len(bundle.meta['input_shape']) == 4
    mxnet, found = MXNetEngine(bundle), []
    sizes = [own] if other.fixed else [own, round(own * 320 / 224)]
    cases = [(batch, size) for size in sizes for batch in (1, 2 if clips else 8)]
    for batch, size in tqdm(cases, desc='comparing with MXNet', unit='batch', leave=False,
                            disable=None):
        pixels = photos(bundle.meta, batch, size)
        logits = mxnet(pixels)
        found.append(Gap(batch, size, relative_gap(other(pixels), logits)))
        if not (found[-1].relative <= TOLERANCE or
                found[-1].relative <= ROUNDINGS * _rounding(bundle, pixels, logits)):
            raise UserError(f'the {form} file of {bundle.meta["network"]} differs from MXNet by '
                            f'{found[-1].relative:.1e} of the largest logit at batch {batch}, size '
                            f'{size}. {TOLERANCE} is allowed, so nothing was written: leave out '
                            f'{option}')
    return found


def _rounding(bundle: Bundle, pixels: np.ndarray, logits: np.ndarray) -> float:
    """How far float32 rounds MXNet's own logits off; NaN where float64 cannot say."""
    try:
        return relative_gap(logits, MXNetEngine(bundle, dtype='float64')(pixels))
    except mx.MXNetError:
        return float('nan')


def fold_gap(bundle: Bundle, folded: Bundle) -> tuple[float, float]:
    """(the relative difference of the folded network in float64, the same in float32).

    UserError where the former is above `FOLD_TOLERANCE`. The latter is how far float32 rounds two
    equal networks apart.
    """
    pixels = photos(bundle.meta, 2, bundle.meta['input_shape'][-1])
    try:
        wide, narrow = (relative_gap(*(MXNetEngine(network, dtype=dtype)(pixels)
                                       for network in (folded, bundle)))
                        for dtype in ('float64', 'float32'))
    except mx.MXNetError as error:  # a recurrent layer's first state is float32
        raise UserError(f'{bundle.meta["network"]} cannot be computed in float64, so its folding '
                        'cannot be checked: leave out `fold`') from error
    if not wide <= FOLD_TOLERANCE:
        raise UserError(f'folding changed the logits of {bundle.meta["network"]} by {wide:.1e} of '
                        f'the largest, above {FOLD_TOLERANCE}: leave out `fold`')
    return wide, narrow


def photos(meta: dict, count: int, size: int) -> np.ndarray:
    """float32 count×3×(T×)size×size of photographs, normalised as the network's metadata says."""
    return photo_batch(count, dataclasses.replace(Preprocessing.from_meta(meta), size=size))


def relative_gap(a: np.ndarray, b: np.ndarray) -> float:
    """max |a − b| / max |b|."""
    return float(np.abs(a - b).max() / np.abs(b).max())
