#!/usr/bin/env python
"""Draw what the pages show: the block, a digit to try things out on, the package's layout.

    python docs/figures.py
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2

from gluon_a2 import data
from gluon_a2.visualization.figure import as_png, new_figure

HERE = Path(__file__).parent
DIGIT = 42  # of the held-out images
GREY = '#444444'
ARROW = {'arrowstyle': '-|>', 'color': GREY}

BOXES = [  # x, y, text, colour
    (0.0, 2.0, 'X\nc × dhw', 'white'), (2.2, 3.6, 'φ\nm × dhw', '#dbe9f6'),
    (2.2, 2.0, 'θ\nn × dhw', '#dbe9f6'), (2.2, 0.4, 'ρ\nn × dhw', '#dbe9f6'),
    (4.2, 2.0, 'softmax\nover dhw', '#fde8cf'), (4.2, 0.4, 'softmax\nover n', '#fde8cf'),
    (6.2, 2.8, 'gather, Eq. 4\nG = A Bᵀ\nm × n', '#e2f0d9'),
    (8.4, 1.6, 'distribute, Eq. 5\nZ = G V\nm × dhw', '#e2f0d9'),
    (10.6, 1.6, 'expand\nc × dhw', '#dbe9f6'), (12.4, 1.6, '+', 'white')
]

ARROWS = [  # from box, to box, label
    (0, 1, ''), (0, 2, ''), (0, 3, ''), (2, 4, ''), (3, 5, ''), (1, 6, 'A'), (4, 6, 'B'),
    (6, 7, 'G'), (5, 7, 'V'), (7, 8, ''), (8, 9, '')
]


LAYOUT = [  # x, y, text, colour
    (0.0, 2.2, 'data\nrecords, folders,\nvideos, the loader', '#dbe9f6'),
    (0.0, 0.6, 'nn\nEq. 6 and 7,\nthe blocks', '#e2f0d9'),
    (2.6, 0.6, 'models\nTable 1, plug,\ninflate', '#e2f0d9'),
    (5.2, 2.2, 'train\nstep, loop,\nsums over ranks', '#fde8cf'),
    (5.2, 3.8, 'launch\nranks on hosts,\nwatched', '#fde8cf'),
    (7.8, 2.2, 'run\nrecipe, folder,\ncheckpoints', '#fde8cf'),
    (10.4, 2.2, 'deploy\nexported files,\nONNX, classify', '#dbe9f6'),
    (13.0, 3.0, 'scoring\naccuracies', 'white'),
    (13.0, 1.4, 'visualization\nattention maps', 'white'),
    (5.2, 0.6, 'paper, cost\nwhat it prints,\nwhat is counted', '#e2f0d9')
]

WAYS = [(0, 3, ''), (1, 2, ''), (2, 3, ''), (4, 3, ''), (3, 5, ''), (5, 6, ''), (6, 7, ''),
        (6, 8, ''), (2, 9, '')]


def draw_boxes(size, xlim, ylim, boxes, arrows):
    """(figure, axes) of boxes with text, and of arrows with a label between them."""
    figure = new_figure(*size)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=xlim, ylim=ylim)
    drawn = [axes.text(x, y, text, ha='center', va='center', fontsize=9, bbox={
        'boxstyle': 'round,pad=0.45', 'facecolor': colour, 'edgecolor': GREY})
        for x, y, text, colour in boxes]
    for start, end, label in arrows:
        (x0, y0), (x1, y1) = boxes[start][:2], boxes[end][:2]
        axes.annotate('', (x1, y1), (x0, y0), arrowprops={
            **ARROW, 'patchA': drawn[start].get_bbox_patch(),
            'patchB': drawn[end].get_bbox_patch(), 'shrinkA': 2, 'shrinkB': 2})
        axes.text((x0 + x1) / 2, (y0 + y1) / 2 + 0.18, label, ha='center', fontsize=9,
                  style='italic')
    return figure, axes


def draw_block(png):
    """Figure 2 of the paper, with shapes."""
    figure, axes = draw_boxes((11, 3.6), (-0.8, 14.2), (-0.7, 4.5), BOXES, ARROWS)
    axes.plot([0, 0, 12.4], [1.65, -0.45, -0.45], color=GREY, linewidth=1)  # the residual path
    axes.annotate('', (12.4, 1.35), (12.4, -0.47), arrowprops=ARROW)
    axes.annotate('', (13.8, 1.6), (12.65, 1.6), arrowprops=ARROW)
    axes.text(2.2, 4.2, 'blue: BN-ReLU-Conv, kernel 1', ha='center', fontsize=8, color='#33557a')
    png.write_bytes(as_png(figure, 110))


def draw_layout(png):
    """The main folders of the package; arrows are the way of the data, not of imports."""
    figure, _ = draw_boxes((11, 3.4), (-1.2, 14.2), (-0.1, 4.5), LAYOUT, WAYS)
    png.write_bytes(as_png(figure, 110))


def write_digit(png):
    """One held-out digit, four times its size."""
    image = data.decode(data.open_source(data.digits_folder(), 'val').read(DIGIT))
    cv2.imwrite(str(png),
                cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)[:, :, ::-1])


if __name__ == '__main__':
    draw_block(HERE / 'block.png')
    draw_layout(HERE / 'layout.png')
    write_digit(HERE / 'digit.png')
