"""The attention as a picture: Figure 1 of the paper for one input, as a PNG, or of a video as an
animated GIF.

A row for each block, and in the PNG of a video for each frame. From left to right: the input, the
place marked; gathering maps; what the place reads; which descriptor each place selects; the
descriptors selected by most places, and those selected at the marked one.
"""
import io
import textwrap
import warnings

import numpy as np
from tqdm import tqdm

from ..files import write_whole

# inches: a picture's side, between two, the edge, a block's titles
CELL, GAP, MARGIN, HEAD = 1.35, 0.1, 0.5, 0.36
DPI = 100
# Okabe and Ito's colours, which the colour-blind tell apart, for the descriptors that most places
# select; the last is for all others.
PALETTE = ('#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#999999')
HEAT, MARK = 'inferno', '#00d5ff'
# the input's light that is left below a map, and how much of it the largest value hides
DIM, OPACITY = 0.6, 0.85
BARS = 8  # the largest shares that are drawn as bars
NOUNS = {'a2': 'descriptor', 'nl': 'place'}  # what is numbered: see `maps`


def draw_sheet(seen, point, descriptors, png):
    """Draw a `Seen` for the place at `point`, (x, y, frame) in pixels of the input, with every
    frame of each block.

    `descriptors` has for each block those whose maps are shown, as many for all.
    """
    rows = [(block, chosen, seen.first_frame(block, t))
            for block, chosen in zip(seen.blocks, descriptors) for t in range(block.size[0])]
    write_whole(png, _png(_draw(seen, point, rows)))


def draw_animation(seen, point, descriptors, gif, milliseconds=300):
    """Draw a `Seen` of a video as `draw_sheet` does, but one row for each block, and the frames one
    after the other."""
    from PIL import Image
    pages = []
    for frame in tqdm(range(len(seen.frames)), desc='drawing frames', unit='frame', disable=None):
        rows = [(block, chosen, frame) for block, chosen in zip(seen.blocks, descriptors)]
        pages.append(Image.open(io.BytesIO(_png(_draw(seen, point, rows)))).convert('RGB'))
    content = io.BytesIO()
    pages[0].save(content, 'GIF', save_all=True, append_images=pages[1:], duration=milliseconds,
                  loop=0)
    write_whole(gif, content.getvalue())


def heat(values, picture):
    """float H×W×3 in 0…1: `values` (h×w, from 0 to 1) as light above the picture (uint8 H×W×3),
    which is dimmed."""
    from matplotlib import colormaps
    values = _spread(values, picture)[..., None]  # H×W×1
    grey = DIM * picture.mean(axis=-1, keepdims=True) / 255  # H×W×1
    return (1 - OPACITY * values
            ) * grey + OPACITY * values * colormaps[HEAT](0.3 + 0.6 * values[..., 0])[..., :3]


def selection(block):
    """float dhw×3 in 0…1: the colour of the descriptor that each place selects, paler where its
    share is smaller."""
    from matplotlib.colors import to_rgb
    favourites = block.favourites(len(PALETTE) - 1)
    colour = np.full(len(block.b), len(PALETTE) - 1)
    colour[favourites] = np.arange(len(favourites))
    full = np.array([to_rgb(name) for name in PALETTE])[colour[block.selected]]  # dhw×3
    share = block.v.max(axis=1, keepdims=True)  # dhw×1
    return 1 - (0.5 + 0.5 * share / share.max()) * (1 - full)  # dhw×3


def percent(share):
    """'12.3 %', '1.23 %' and '0.12 %' of shares from 0 to 1: one decimal from 10 % on, and two
    below."""
    return f'{100 * share:.{1 if share >= 0.1 else 2}f} %'


def _spread(values, picture):
    """h×w(×…) → H×W(×…): each pixel of the picture gets the value of the cell it lies in."""
    rows, columns = (np.arange(side) * cells // side
                     for side, cells in zip(picture.shape[:2], values.shape))
    return values[rows[:, None], columns]


def _png(figure):
    image = io.BytesIO()
    with warnings.catch_warnings():
        # a script that the font lacks: boxes are drawn
        warnings.filterwarnings('ignore', 'Glyph', UserWarning)
        figure.savefig(image, format='png', dpi=DPI)
    return image.getvalue()


def _draw(seen, point, rows):
    """The figure of `rows`: (block, its descriptors, frame); the first of a block has titles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    heads = [before is None or before[0] is not row[0] for before, row in zip([None, *rows], rows)]
    columns = len(rows[0][1]) + 5
    width = 2 * MARGIN + columns * (CELL + GAP)
    height = 1.5 * MARGIN + len(rows) * (CELL + GAP) + sum(heads) * HEAD
    figure, bottom = Figure(figsize=(width, height)), height - MARGIN
    FigureCanvasAgg(figure)
    said = ', '.join(f'{textwrap.shorten(name, 40)} ({percent(share)})'
                     for name, share in seen.guesses[:3])
    for place, line in enumerate((f'{seen.network} says: {said}.',
                                  'Every map is drawn from 0 (dark) to its largest value '
                                  '(yellow).')):
        figure.text(0.5 * MARGIN / width, 1 - (0.3 + 0.4 * place) * MARGIN / height, line,
                    va='center', fontsize=9, parse_math=False)
    for (block, chosen, frame), head in zip(rows, heads):
        bottom -= CELL + GAP + HEAD * head
        row = [
            figure.add_axes(((MARGIN + i *
                              (CELL + GAP)) / width, bottom / height, CELL / width, CELL / height))
            for i in range(columns)
        ]
        _draw_row(row, seen, point, block, chosen, frame, head)
    return figure


def _draw_row(row, seen, point, block, chosen, frame, head):
    """Draw into the axes `row` one block at one frame, with titles where `head`."""
    place = block.place(point, seen.frames.shape)
    here = seen.time(block, frame) == seen.time(block, point[2])
    for axes, (picture, titles, marked) in zip(row, _pictures(seen, block, place, chosen, frame)):
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[])
        axes.set_title('\n'.join(titles) if head else '', fontsize=6.5, pad=3)
        if marked and here:
            axes.plot(*point[:2], '+', color=MARK, markersize=10, markeredgewidth=1.8)
    video = len(seen.frames) > 1
    size = '×'.join(map(str, block.size if video else block.size[1:]))
    row[0].set_ylabel(f'{block.name}\n{size}' + (f', frame {frame}' if video else ''),
                      parse_math=False, fontsize=min(7, 110 / len(block.name)))
    colours = dict(zip(block.favourites(len(PALETTE) - 1), PALETTE))
    votes = np.bincount(block.selected, minlength=len(block.b)) / len(block.v)
    for axes, values, title, shown in ((row[-2], votes, 'share of the places\nthat select it most',
                                        head), (row[-1], block.v[place],
                                                f'{NOUNS[block.kind]}s\nselected '
                                                'at the cross', here)):
        if shown:
            _draw_bars(axes, values, colours, title)
        else:
            axes.remove()


def _pictures(seen, block, place, chosen, frame):
    """Yield (picture, titles, whether the place is marked in it), from left to right."""
    picture, t, reads, strength = seen.frames[frame], seen.time(
        block, frame), block.reads(place), block.strength
    noun = NOUNS[block.kind]

    def light(values):
        return heat(block.at_time(values / values.max(), t), picture)

    yield picture, ('input', 'as the network saw it'), True
    for j in chosen:
        yield light(block.b[j]), (f'{noun} {j}, max {percent(block.b[j].max())}',
                                  f'{percent(strength[j])} of all reading'), False
    yield light(reads), ('read at the cross,', f'max {percent(reads.max())}'), True
    yield _spread(block.at_time(selection(block), t), picture), (f'{noun} that', 'each place '
                                                                                 'selects '
                                                                                 'most'), True


def _draw_bars(axes, values, colours, title):
    """The largest of `values`, one for each descriptor, in the colours of the selection."""
    largest = np.argsort(-values, kind='stable')[:min(BARS, np.count_nonzero(values))]
    axes.barh(range(len(largest)), values[largest], color=[
        colours.get(j, PALETTE[-1]) for j in largest
    ])
    for at, j in enumerate(largest):
        axes.text(values[j], at, f' {j}: {percent(values[j])}', va='center', fontsize=6)
    axes.set(xticks=[], yticks=[], xlim=(0, 1.8 * values.max()), ylim=(BARS - 0.4, -0.6))
    axes.set_title(title, fontsize=6.5, pad=3)
    axes.set_frame_on(False)
