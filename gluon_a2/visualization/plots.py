"""Pictures of runs."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Sequence

import numpy as np

from ..files import write_whole
from .figure import as_png, new_figure


def learning_curve(log: str | Path, png: str | Path) -> None:
    """Draw a run's `log.jsonl`: accuracy by epoch above, loss and learning rate by step below."""
    lines = [json.loads(line) for line in Path(log).read_text().splitlines()]
    steps = [line for line in lines if 'lr' in line]
    epochs = [line for line in lines if 'val_top1' in line]
    figure = new_figure(8, 6)
    accuracy, loss = figure.subplots(2, 1, sharex=True)
    at = [line['step'] for line in epochs]
    for key, name in (('train_top1', 'training (augmented)'), ('val_top1', 'validation')):
        accuracy.plot(at, [100 * line[key] for line in epochs], marker='o', markersize=3,
                      label=name)
    if epochs:
        accuracy.set_title(f'top-1 after {len(epochs)} epochs: {100 * epochs[-1]["val_top1"]:.2f} '
                           f'% of {epochs[-1]["val_images"]} held-out images')
    accuracy.set_ylabel('top-1 accuracy, %')
    accuracy.grid(alpha=0.3)
    accuracy.legend(loc='lower right')
    at = [line['step'] for line in steps]
    loss.plot(at, [line['loss'] for line in steps], color='tab:red', label='loss')
    loss.set(ylabel='training loss', xlabel='step')
    loss.set_ylim(bottom=0)
    rate = loss.twinx()
    rate.plot(at, [line['lr'] for line in steps], color='tab:gray', linestyle='--')
    rate.set_ylabel('learning rate (dashed)')
    rate.set_ylim(bottom=0)
    write_whole(png, as_png(figure))


def contact_sheet(clips: Sequence[np.ndarray] | np.ndarray, titles: Sequence[str],
                  png: str | Path, columns: int = 1) -> None:
    """Draw clips, each uint8 T×H×W×3 (all alike), with their titles, in so many columns, the frames
    of each from left to right."""
    rows, lines = -(-len(clips) // columns), max(title.count('\n') for title in titles) + 1
    still = len(clips[0]) == 1
    width = 2.1 if still else len(clips[0])  # inches: above a still picture, titles need room
    height = (1.9 if still else 1) + 0.1 + 0.15 * lines
    figure = new_figure(0.2 + columns * width, 0.2 + rows * height)
    cells = figure.subplots(rows, columns, squeeze=False).flat
    for axes, clip, title in zip(cells, clips, titles):
        if not still:  # a line between frames
            clip = np.pad(clip, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)
        axes.imshow(np.concatenate(clip, 1))
        axes.set_title(title, loc='left', fontsize=7 if still else 9, pad=2, parse_math=False)
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
        if not axes.images:
            axes.remove()
    write_whole(png, as_png(figure))
