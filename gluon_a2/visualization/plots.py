"""Pictures of runs."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Sequence

import numpy as np

from ..files import write_csv, write_whole
from ..scoring.metrics import VideoScores
from .figure import as_png, new_figure

# the last columns of a confusion: videos for which no class is the highest, or that cannot be read
NO_CLASS = 'undecided', 'unreadable'


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


def contact_sheet(clips: np.ndarray, titles: Sequence[str], png: str | Path) -> None:
    """Draw clips, uint8 N×T×H×W×3, one a row with its title, its frames from left to right."""
    figure = new_figure(0.2 + clips.shape[1], 0.2 + 1.25 * len(clips))
    column = figure.subplots(len(clips), 1, squeeze=False)[:, 0]
    clips = np.pad(clips, ((0, 0), (0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)
    for axes, clip, title in zip(column, clips, titles):
        axes.imshow(np.concatenate(clip, 1))
        axes.set_title(title, loc='left', fontsize=9, pad=2)
        axes.set(xticks=[], yticks=[])
    write_whole(png, as_png(figure))


def save_confusion(scores: VideoScores, classes: Sequence[str], folder: str | Path) -> None:
    """Write per_class.csv, confusion.csv and confusion.png of `VideoScores` into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table, accuracy = scores.confusion, scores.per_class
    write_csv(folder / 'per_class.csv', [
        ('class', 'videos', 'right', *NO_CLASS, 'accuracy'),
        *((name, int(row.sum()), int(row[i]), *row[-2:].tolist(), f'{accuracy[i]:.4f}')
          for i, (name, row) in enumerate(zip(classes, table)))])
    write_csv(folder / 'confusion.csv', [('class', *classes, *NO_CLASS), *(
        [name, *row.tolist()] for name, row in zip(classes, table))])
    _draw_confusion(table / np.maximum(1, table.sum(axis=1, keepdims=True)), classes,
                    folder / 'confusion.png')


def _draw_confusion(shares: np.ndarray, classes: Sequence[str], png: Path) -> None:
    side = min(24, 3 + 0.35 * len(classes))
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    picture = axes.imshow(shares, vmin=0, vmax=1, cmap='Blues', aspect='auto')
    if len(classes) <= 60:  # more would not be legible
        axes.set_xticks(range(len(classes) + 2), [*classes, *NO_CLASS], rotation=90)
        axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel='said', ylabel='true', title='share of the videos of each class')
    figure.colorbar(picture)
    write_whole(png, as_png(figure))
