"""The attention as one HTML file that needs nothing else: point at a place, and see what it reads.

The arrays travel inside it as they are, in 32-bit floats, so every number shown is the network's.
`page.html` is the page without its data.
"""
import base64
import json
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..files import write_whole
from .sheet import DIM, HEAT, OPACITY, PALETTE

# of arrays, a third more as text; A²-ResNet-50 has 5.8 million at 224×224, 23 in video
MAX_BYTES = 2 ** 25
_TEMPLATE, _DATA = Path(__file__).with_name('page.html'), '"DATA"'


def write_page(seen, point, orders, top, html, source):
    """Write a `Seen` as an HTML file that opens at `point`, (x, y, frame) in pixels of the input.

    `orders` has for each block its descriptors, the strongest first; `top` is how many are listed
    at a place, and `source` what the input is called. UserError where the arrays would be larger
    than MAX_BYTES.
    """
    size = sum(block.v.nbytes + (block.kind != 'nl') * block.b.nbytes for block in seen.blocks)
    if size > MAX_BYTES:
        raise UserError(f'the page would hold {size / 2 ** 20:.0f} MB of attention, above '
                        f'{MAX_BYTES / 2 ** 20:.0f}: choose fewer --blocks')
    content = json.dumps(_data(seen, point, orders, top, source), ensure_ascii=False,
                         separators=(',', ':'))
    content = content.replace('<', '\\u003c')  # so that no name can end the script element
    write_whole(html, _TEMPLATE.read_text(encoding='utf-8').replace(_DATA, content).encode())


def _data(seen, point, orders, top, source):
    """All that the page knows, as JSON takes it."""
    from matplotlib import colormaps
    heat = colormaps[HEAT](np.linspace(0.3, 0.9, 256))[:, :3]
    return {
        'network': seen.network, 'source': source,
        'guesses': seen.guesses, 'point': list(point), 'top': top, 'frames': [
            _png(frame) for frame in seen.frames
        ], 'shape': seen.frames.shape[:3], 'heat': np.rint(255 * heat).astype(int).tolist(),
        'dim': DIM, 'opacity': OPACITY, 'palette': PALETTE, 'blocks': [
            _block(block, order) for block, order in zip(seen.blocks, orders)
        ]
    }


def _block(block, order):
    return {
        'name': block.name, 'kind': block.kind, 'size': block.size, 'n': len(block.b), 'v': _floats(
            block.v), 'b': None if block.kind == 'nl' else _floats(block.b),
        'order': order.tolist(), 'strength': block.strength.tolist(),
        'selected': block.selected.tolist(), 'favourites': block.favourites(len(PALETTE)
                                                                            - 1).tolist()
    }


def _png(frame):
    """A picture, uint8 H×W×3, as a URI that contains it."""
    _, encoded = cv2.imencode('.png', frame[..., ::-1])
    return f'data:image/png;base64,{_base64(encoded.tobytes())}'


def _floats(matrix):
    return _base64(matrix.astype('<f4').tobytes())


def _base64(content):
    return base64.b64encode(content).decode()
