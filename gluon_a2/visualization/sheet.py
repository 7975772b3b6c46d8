"""The attention as a picture: Figure 1 of the paper for one input, as a PNG, or of a video as an
animated GIF.

There is a row for each block, and in the PNG of a video for each frame. From left to right it has

- the input, the position marked,
- gathering maps,
- what the position reads,
- which descriptor each position selects,
- the descriptors selected by most positions, and those selected at the marked one.
"""
from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from ..files import write_whole
from .figure import as_png, new_figure
from .maps import Attention, BlockAttention

Point = Sequence[int]  # (x, y, frame) in pixels of the input

# inches: a picture's side, between two, the edge, a block's titles
CELL, GAP, MARGIN, HEAD = 1.35, 0.1, 0.5, 0.36
# Okabe and Ito's colours, which the colour-blind tell apart, for the descriptors that most
# positions select; the last is for all others.
PALETTE = ('#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#999999')
HEAT, MARK = 'inferno', '#00d5ff'
# the input's light that is left below a map, and how much of it the largest value hides
DIM, OPACITY = 0.6, 0.85
BARS = 8  # the largest shares that are drawn as bars


def draw_sheet(attention: Attention, point: Point, descriptors: Sequence[Sequence[int]],
               png: str | Path) -> None:
    """Draw an `Attention` for the position at `point`, with every frame of each block.

    `descriptors` has for each block those whose maps are shown, as many for all.
    """
    rows = [(block, chosen, attention.first_frame(block, t))
            for block, chosen in zip(attention.blocks, descriptors) for t in range(block.size[0])]
    write_whole(png, as_png(_draw(attention, point, rows)))


def draw_animation(attention: Attention, point: Point, descriptors: Sequence[Sequence[int]],
                   gif: str | Path, milliseconds: int = 300) -> None:
    """As `draw_sheet`, but a row for each block, and a video's frames one after the other."""
    from PIL import Image
    pages = []
    for frame in tqdm(range(len(attention.frames)), desc='drawing frames', unit='frame',
                      disable=None):
        rows = [(block, chosen, frame) for block, chosen in zip(attention.blocks, descriptors)]
        content = io.BytesIO(as_png(_draw(attention, point, rows)))
        pages.append(Image.open(content).convert('RGB'))
    content = io.BytesIO()
    pages[0].save(content, 'GIF', save_all=True, append_images=pages[1:], duration=milliseconds,
                  loop=0)
    write_whole(gif, content.getvalue())


def heat(values: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """float H×W×3 in 0…1: `values` (h×w in 0…1) as light over the dimmed picture (uint8 H×W×3)."""
    from matplotlib import colormaps
    values = spread(values, picture)[..., None]  # H×W×1
    grey = DIM * picture.mean(axis=-1, keepdims=True) / 255  # H×W×1
    light = colormaps[HEAT](0.3 + 0.6 * values[..., 0])[..., :3]  # H×W×3
    return (1 - OPACITY * values) * grey + OPACITY * values * light


def selection(block: BlockAttention) -> np.ndarray:
    """float dhw×3 in 0…1: the colour of what each position selects, paler for a smaller share."""
    from matplotlib.colors import to_rgb
    favourites = block.favourites(len(PALETTE) - 1)
    colour = np.full(block.v.shape[1], len(PALETTE) - 1)
    colour[favourites] = np.arange(len(favourites))
    full = np.array([to_rgb(name) for name in PALETTE])[colour[block.selected]]  # dhw×3
    share = block.v.max(axis=1, keepdims=True)  # dhw×1
    return 1 - (0.5 + 0.5 * share / share.max()) * (1 - full)  # dhw×3


def percent(share: float) -> str:
    """'12.3 %', '1.23 %' and '0.12 %' of shares from 0 to 1."""
    return f'{100 * share:.{1 if share >= 0.1 else 2}f} %'


def spread(values: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """h×w(×…) → H×W(×…): each pixel of the picture gets the value of the cell it lies in."""
    rows, columns = (np.arange(side) * cells // side
                     for side, cells in zip(picture.shape[:2], values.shape))
    return values[rows[:, None], columns]


def _draw(attention: Attention, point: Point,
          rows: list[tuple[BlockAttention, Sequence[int], int]]) -> Any:
    """The figure of `rows`: (block, its descriptors, frame); the first of a block has titles."""
    heads = [before is None or before[0] is not row[0] for before, row in zip([None, *rows], rows)]
    columns = len(rows[0][1]) + 5
    width = 2 * MARGIN + columns * (CELL + GAP)
    height = 1.5 * MARGIN + len(rows) * (CELL + GAP) + sum(heads) * HEAD
    figure, bottom = new_figure(width, height, constrained=False), height - MARGIN
    said = ', '.join(f'{textwrap.shorten(name, 40)} ({percent(share)})'
                     for name, share in attention.guesses[:3])
    for number, line in enumerate((f'{attention.network} says: {said}.',
                                   'Every map is drawn from 0 (dark) to its largest value '
                                   '(yellow).')):
        figure.text(0.5 * MARGIN / width, 1 - (0.3 + 0.4 * number) * MARGIN / height, line,
                    va='center', fontsize=9, parse_math=False)
    for (block, chosen, frame), head in zip(rows, heads):
        bottom -= CELL + GAP + HEAD * head
        row = [figure.add_axes(((MARGIN + i * (CELL + GAP)) / width, bottom / height, CELL / width,
                                CELL / height)) for i in range(columns)]
        _draw_row(row, attention, point, block, chosen, frame, head)
    return figure


def _draw_row(row, attention, point, block, chosen, frame, head) -> None:
    """Draw into the axes `row` one block at one frame, with titles where `head`."""
    position = block.position(point, attention.frames.shape)
    here = attention.time(block, frame) == attention.time(block, point[2])
    for axes, (picture, titles, marked) in zip(row, _pictures(attention, block, position, chosen,
                                                              frame)):
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[])
        axes.set_title('\n'.join(titles) if head else '', fontsize=6.5, pad=3)
        if marked and here:
            axes.plot(*point[:2], '+', color=MARK, markersize=10, markeredgewidth=1.8)
    video = len(attention.frames) > 1
    size = '×'.join(map(str, block.size if video else block.size[1:]))
    row[0].set_ylabel(f'{block.name}\n{size}' + (f', frame {frame}' if video else ''),
                      parse_math=False, fontsize=min(7, 110 / len(block.name)))
    colours = dict(zip(block.favourites(len(PALETTE) - 1), PALETTE))
    for axes, values, title, shown in (
            (row[-2], block.votes / len(block.v), 'share of the positions\nthat select it most',
             head),
            (row[-1], block.v[position], f'{block.noun}s\nselected at the cross', here)):
        if shown:
            _draw_bars(axes, values, colours, title)
        else:
            axes.remove()


def _pictures(attention: Attention, block: BlockAttention, position: int, chosen: Sequence[int],
              frame: int) -> Iterator[tuple[np.ndarray, tuple[str, ...], bool]]:
    """Yield (picture, titles, whether the position is marked in it), from left to right."""
    picture, t = attention.frames[frame], attention.time(block, frame)
    reads, strength = block.reads(position), block.strength

    def light(values: np.ndarray) -> np.ndarray:
        return heat(block.at_time(values / values.max(), t), picture)

    yield picture, ('input', 'as the network gets it'), True
    for j in chosen:
        values = block.gathered(j)
        yield light(values), (f'{block.noun} {j}, max {percent(values.max())}',
                              f'{percent(strength[j])} of all reading'), False
    yield light(reads), ('read at the cross,', f'max {percent(reads.max())}'), True
    yield (spread(block.at_time(selection(block), t), picture),
           (f'{block.noun} that each', 'position selects most'), True)


def _draw_bars(axes: Any, values: np.ndarray, colours: dict[int, str], title: str) -> None:
    """The largest of `values`, one for each descriptor, in the colours of the selection."""
    largest = np.argsort(-values, kind='stable')[:min(BARS, int(np.count_nonzero(values)))]
    axes.barh(range(len(largest)), values[largest],
              color=[colours.get(j, PALETTE[-1]) for j in largest])
    for at, j in enumerate(largest):
        axes.text(values[j], at, f' {j}: {percent(values[j])}', va='center', fontsize=6)
    axes.set(xticks=[], yticks=[], xlim=(0, 1.8 * values.max()), ylim=(BARS - 0.4, -0.6))
    axes.set_title(title, fontsize=6.5, pad=3)
    axes.set_frame_on(False)
