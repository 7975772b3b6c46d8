"""Pictures of runs."""
import io
import json
from pathlib import Path

import numpy as np

from ..files import write_csv, write_whole

# the last columns of a confusion: videos for which no class is the highest, or that cannot be read
NO_CLASS = 'undecided', 'unreadable'


def learning_curve(log, png):
    """Draw a run's `log.jsonl`: accuracy and its error by epoch above, loss and learning rate by
    step below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    lines = [json.loads(line) for line in Path(log).read_text().splitlines()]
    steps = [line for line in lines if 'lr' in line]
    epochs = [line for line in lines if 'val_top1' in line]
    figure = Figure(figsize=(8, 6), layout='constrained')
    FigureCanvasAgg(figure)
    accuracy, loss = figure.subplots(2, 1, sharex=True)
    at = [line['step'] for line in epochs]
    for key, name in (('train_top1', 'training (augmented)'), ('val_top1', 'validation')):
        accuracy.plot(at, [100 * line[key]
                           for line in epochs], marker='o', markersize=3, label=name)
    if epochs:
        accuracy.set_title(f'top-1 after {len(epochs)} epochs: {100 * epochs[-1]["val_top1"]:.2f} '
                           f'% of {epochs[-1]["val_images"]} held-out images')
    accuracy.set_ylabel('top-1 accuracy, %')
    accuracy.grid(alpha=0.3)
    accuracy.legend(loc='lower right')
    loss.plot([line['step'] for line in steps], [line['loss']
                                                 for line in steps], color='tab:red', label='loss')
    loss.set_ylabel('training loss')
    loss.set_xlabel('step')
    loss.set_ylim(bottom=0)
    rate = loss.twinx()
    rate.plot([line['step']
               for line in steps], [line['lr'] for line in steps], color='tab:gray', linestyle='--')
    rate.set_ylabel('learning rate (dashed)')
    rate.set_ylim(bottom=0)
    _save(figure, png)


def contact_sheet(clips, titles, png):
    """Draw clips, uint8 N×T×H×W×3, one a row with its title, its frames from left to right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(0.2 + clips.shape[1], 0.2 + 1.25 * len(clips)), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, clip, title in zip(
            figure.subplots(len(clips), 1, squeeze=False)[:, 0], clips, titles):
        axes.imshow(
            np.concatenate(
                [np.pad(frame, ((0, 0), (0, 1), (0, 0)), constant_values=255)
                 for frame in clip], 1))
        axes.set_title(title, loc='left', fontsize=9, pad=2)
        axes.set(xticks=[], yticks=[])
    _save(figure, png)


def save_confusion(scores, classes, folder):
    """Write per_class.csv, confusion.csv and confusion.png of `VideoScores` into `folder`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    table, accuracy = scores.confusion, scores.per_class
    rows = [(name, int(row.sum()), int(row[i]), *row[-2:].tolist(), f'{accuracy[i]:.4f}')
            for i, (name, row) in enumerate(zip(classes, table))]
    write_csv(
        Path(folder) / 'per_class.csv',
        [('class', 'videos', 'right', *NO_CLASS, 'accuracy'), *rows])
    write_csv(
        Path(folder) / 'confusion.csv',
        [('class', *classes, *NO_CLASS), *([name, *row.tolist()]
                                           for name, row in zip(classes, table))])
    _draw_confusion(table / np.maximum(1, table.sum(axis=1, keepdims=True)), classes,
                    Path(folder) / 'confusion.png')


def _draw_confusion(shares, classes, png):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    side = min(24, 3 + 0.35 * len(classes))
    figure = Figure(figsize=(side + 1, side), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    picture = axes.imshow(shares, vmin=0, vmax=1, cmap='Blues', aspect='auto')
    if len(classes) <= 60:  # more would not be legible
        axes.set_xticks(range(len(classes) + 2), [*classes, *NO_CLASS], rotation=90)
        axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel='said', ylabel='true', title='share of the videos of each class')
    figure.colorbar(picture)
    _save(figure, png)


def _save(figure, png):
    image = io.BytesIO()
    figure.savefig(image, format='png', dpi=100)
    write_whole(png, image.getvalue())
