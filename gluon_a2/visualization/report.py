"""A scoring as files, of images and of videos alike, in one folder:

    samples.csv      what is said of each sample, in the order of the source
    per_class.csv    samples and accuracy of each class, and what ImageNet's wnids stand for
    confusion.csv    samples by class and guess, and confusion.png
    worst.png        the mistakes that the network is surest of
    logits.npy       where they are kept: float32, a row for each row of samples.csv
    features.npy     what enters the classifier, likewise
"""
from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.imagenet import english, shown
from ..errors import UserError
from ..files import write_csv, write_whole
from ..scoring.metrics import Answers, per_class
from .figure import as_png, new_figure
from .plots import contact_sheet

# the last columns of a confusion: samples for which no class is the highest, or that cannot be read
NO_CLASS = 'undecided', 'unreadable'
DRAWN = 40  # classes whose names are legible beside each other
COLUMNS, FRAMES = 5, 8  # of a contact sheet: images side by side; frames of a video
# letters of a name, and of a path above an image or above a video
NAME, IMAGE_PATH, VIDEO_PATH = 26, 34, 100


def make_folder(path: str | os.PathLike) -> Path:
    """The folder, made where there is none; an error unless files can be written into it."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f'{folder} cannot be written to: choose another folder')
    return folder


def save_report(answers: Answers, net: Any, source: Any, folder: Path, worst: int = 20) -> str:
    """Write what a `Classifier` answered of a source into `folder`, in place of what an earlier
    call wrote there; a sentence that names the files. `worst` mistakes are drawn at most."""
    classes, noun = net.classes, 'videos' if net.frames else 'images'
    names = [*classes, *NO_CLASS]
    paths = [source.name(i) for i in range(len(source))]
    write_csv(folder / 'samples.csv', _samples(answers, paths, names))
    table = answers.confusion
    accuracy = per_class(table)
    also = any(map(english, classes))
    write_csv(folder / 'per_class.csv', [
        ('class', noun, 'right', *NO_CLASS, 'accuracy', *['name'] * also),
        *((name, int(row.sum()), int(row[i]), *row[-2:].tolist(), f'{accuracy[i]:.4f}',
           *[english(name)] * also) for i, (name, row) in enumerate(zip(classes, table)))])
    write_csv(folder / 'confusion.csv', [('class', *names), *(
        [name, *row.tolist()] for name, row in zip(classes, table))])
    draw_confusion(table, list(map(shown, classes)), folder / 'confusion.png', noun)
    for name in ('logits', 'features', 'worst'):
        ending = '.png' if name == 'worst' else '.npy'
        (folder / f'{name}{ending}').unlink(missing_ok=True)  # of an earlier call
    for name in answers.kept:
        content = io.BytesIO()
        np.save(content, answers.array(name))
        write_whole(folder / f'{name}.npy', content.getvalue())
    mistakes = answers.mistakes()
    drawn = mistakes[:worst]
    if len(drawn):
        draw_worst(net.pictures(source, drawn), [
            (paths[i], *(shown(names[c]) for c in (answers.labels[i], answers.said[i])),
             answers.shares[i, 0]) for i in drawn], folder / 'worst.png')
    said = f'{len(drawn)} of {len(mistakes)} mistakes in worst.png' if len(drawn) else 'no mistakes'
    return f'{folder}: samples.csv, per_class.csv, confusion.csv and .png; {said}'


def _samples(answers: Answers, paths: Sequence[str], names: Sequence[str]) -> list[Sequence]:
    """The rows of samples.csv."""
    rows: list[Sequence] = [('path', 'label', 'outcome', *(
        f'{what}_{i + 1}' for i in range(answers.best.shape[1])
        for what in ('guess', 'probability')))]
    for path, label, said, best, shares in zip(paths, answers.labels, answers.said, answers.best,
                                               answers.shares):
        outcome = ('right' if said == label else 'wrong' if said < answers.classes else
                   names[said])
        guesses: list[str] = []
        for guess, share in zip(best, shares):
            guesses += ['', ''] if np.isnan(share) else [names[guess], f'{share:.6f}']
        rows.append((path, names[label], outcome, *guesses))
    return rows


def draw_confusion(table: np.ndarray, classes: Sequence[str], png: str | Path,
                   noun: str = 'images') -> None:
    """Draw a confusion (see `Answers`) as shares of the samples of each class.

    Of more than `DRAWN` classes, only those of most mistakes are drawn, made or drawn upon; what is
    said beside them stands together in one column.
    """
    shown, title = np.arange(len(classes)), f'% of the {noun} of each class'
    columns = [*classes, *NO_CLASS]
    said = table.astype(float)
    if len(classes) > DRAWN:
        inner = table[:, :len(classes)]
        wrong = table.sum(axis=1) + inner.sum(axis=0) - 2 * np.diag(inner)
        shown = np.sort(np.argsort(-wrong, kind='stable')[:DRAWN])
        chosen = np.isin(np.arange(len(classes)), shown)
        others = inner[:, ~chosen].sum(axis=1, keepdims=True)
        said = np.hstack([inner[:, chosen], others, table[:, len(classes):]])
        columns = [*(classes[i] for i in shown.tolist()), 'all other classes', *NO_CLASS]
        title += f'; the {DRAWN} of {len(classes)} classes with most mistakes'
    shares = 100 * said[shown] / np.maximum(1, table[shown].sum(axis=1, keepdims=True))
    side = 1.5 + 0.22 * len(columns)
    longest = 0.06 * min(NAME, max(map(len, columns)))
    figure = new_figure(max(5.5, side + 1 + longest), max(3.5, side + longest))
    axes = figure.subplots()
    picture = axes.imshow(shares, vmin=0, vmax=100, cmap='Blues', aspect='auto')
    for axis, labels in ((axes.xaxis, columns), (axes.yaxis, [classes[i] for i in shown.tolist()])):
        axis.set_ticks(range(len(labels)), [_start(name) for name in labels], fontsize=8,
                       parse_math=False)
    axes.tick_params(axis='x', rotation=90)
    if len(columns) <= 14:
        for (y, x), share in np.ndenumerate(shares):
            if share:
                axes.text(x, y, f'{share:.0f}', ha='center', va='center', fontsize=8,
                          color='white' if share > 50 else 'black')
    axes.set(xlabel='said', ylabel='true')
    figure.suptitle(title, fontsize=9)
    figure.colorbar(picture)
    write_whole(png, as_png(figure))


def draw_worst(pictures: Sequence[np.ndarray],
               rows: Sequence[tuple[str, str, str, float]], png: str | Path) -> None:
    """Draw mistakes, uint8 T×H×W×3, with (path, label, guess, its probability) above each."""
    video = len(pictures[0]) > 1
    titles = []
    for path, label, guess, share in rows:
        where, said = _end(path, VIDEO_PATH if video else IMAGE_PATH), _start(guess)
        titles.append(f'{where}\nis {_start(label)}\nsaid {said}, {100 * share:.1f} %')
    frames = np.unique(np.linspace(0, len(pictures[0]) - 1, FRAMES).round().astype(int))
    contact_sheet([picture[frames] for picture in pictures], titles, png,
                  1 if video else min(COLUMNS, len(pictures)))


def _start(name: str) -> str:
    """The first letters of a name, in one line."""
    name = ' '.join(name.split())
    return name if len(name) <= NAME else name[:NAME - 1] + '…'


def _end(path: str, letters: int) -> str:
    """The last letters of a path, in one line."""
    path = ' '.join(path.split())
    return path if len(path) <= letters else '…' + path[1 - letters:]
