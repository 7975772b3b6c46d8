"""The attention as one HTML file that needs nothing else: point at a position, and see what it
reads.

The arrays travel inside it as they are, in 32-bit floats, so every number shown is the network's.
`page.html` is the page without its data.
"""
from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Sequence

import cv2
import numpy as np

from ..errors import UserError
from ..files import write_whole
from .maps import Attention, BlockAttention
from .sheet import DIM, HEAT, OPACITY, PALETTE, Point

# of arrays, a third more as text; A²-ResNet-50 has 5.8 million at 224×224, 23 in video
MAX_BYTES = 2 ** 25
_TEMPLATE, _DATA = Path(__file__).with_name('page.html'), '"DATA"'


def write_page(attention: Attention, point: Point, orders: Sequence[np.ndarray], top: int,
               html: str | Path, source: str) -> None:
    """Write an `Attention` as an HTML file that opens at `point`, (x, y, frame) in pixels of the
    input.

    `orders` has for each block its descriptors, the strongest first; `top` is how many are listed
    at a position, and `source` what the input is called. UserError where the arrays would be larger
    than MAX_BYTES.
    """
    size = sum(array.nbytes for block in attention.blocks for array in (block.v, block.b)
               if array is not None)
    if size > MAX_BYTES:
        raise UserError(f'the page would hold {size / 2 ** 20:.0f} MB of attention, above '
                        f'{MAX_BYTES / 2 ** 20:.0f}: choose fewer `blocks`')
    content = json.dumps(_data(attention, point, orders, top, source), ensure_ascii=False,
                         separators=(',', ':'))
    content = content.replace('<', '\\u003c')  # so that no name can end the script element
    write_whole(html, _TEMPLATE.read_text(encoding='utf-8').replace(_DATA, content).encode())


def _data(attention: Attention, point: Point, orders: Sequence[np.ndarray], top: int,
          source: str) -> dict[str, Any]:
    """All that the page knows, as JSON takes it."""
    from matplotlib import colormaps
    heat = colormaps[HEAT](np.linspace(0.3, 0.9, 256))[:, :3]
    return {'network': attention.network, 'source': source, 'guesses': attention.guesses,
            'point': list(point), 'top': top,
            'frames': [_png(frame) for frame in attention.frames],
            'shape': attention.frames.shape[:3], 'heat': np.rint(255 * heat).astype(int).tolist(),
            'dim': DIM, 'opacity': OPACITY, 'palette': PALETTE,
            'blocks': [_block(block, order) for block, order in zip(attention.blocks, orders)]}


def _block(block: BlockAttention, order: np.ndarray) -> dict[str, Any]:
    return {'name': block.name, 'label': block.label, 'noun': block.noun, 'size': block.size,
            'n': block.v.shape[1], 'v': _floats(block.v),
            'b': None if block.b is None else _floats(block.b), 'order': order.tolist(),
            'strength': block.strength.tolist(), 'selected': block.selected.tolist(),
            'favourites': block.favourites(len(PALETTE) - 1).tolist()}


def _png(frame: np.ndarray) -> str:
    """A picture, uint8 H×W×3, as a URI that contains it."""
    _, encoded = cv2.imencode('.png', frame[..., ::-1])
    return f'data:image/png;base64,{base64.b64encode(encoded.tobytes()).decode()}'


def _floats(matrix: np.ndarray) -> str:
    return base64.b64encode(matrix.astype('<f4').tobytes()).decode()
