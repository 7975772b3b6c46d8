"""One network in several forms, on the same samples: accuracy, agreement, size and speed."""
from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from .. import data
from ..errors import UserError
from ..scoring.metrics import NO_GUESS, guesses, name_damaged
from .classify import Classifier

ROUNDS = 7  # timed calls of each form, besides a first one


class Form(NamedTuple):
    """What was found of one form. A sample is an image, or the middle clip of a video."""
    name: str
    megabytes: float  # 10⁶ bytes, its files without the metadata
    top1: float
    agreement: float  # share of samples that it classifies as the first form does
    per_second: float  # samples, the median over the rounds
    ratio: float  # to the first form's


def compare(forms: dict[str, tuple[Classifier, int]], source: Any, batch_size: int = 32,
            workers: int = 2) -> list[Form]:
    """A `Form` for each of `forms`, {name: (Classifier of one view, bytes of its files)}, on all
    samples of `source`.

    Every batch is read once and given to all in turn. Then one batch is timed, round by round, each
    form once a round. UserError where no sample can be read.
    """
    said: dict[str, Any] = {name: [] for name in forms}
    labels: Any = []
    sample = None
    preprocessing = next(iter(forms.values()))[0].preprocessing
    indices = data.batches(np.arange(len(source)), batch_size)
    with data.Loader(source, preprocessing, workers) as loader, tqdm(
            total=len(source), desc='side by side', unit='sample', leave=False,
            disable=None) as bar:
        for batch in loader.load(indices, 0):
            name_damaged(batch.damaged)
            bar.update(len(batch.labels) + len(batch.damaged))
            if not len(batch.labels):
                continue
            labels.append(batch.labels.copy())  # the loader uses its memory again
            sample = batch.images.copy() if sample is None else sample
            for name, (classifier, _) in forms.items():
                said[name].append(guesses(classifier.logits(batch.images)))
    if sample is None:
        raise UserError('none of the samples can be read: nothing can be compared')
    labels = np.concatenate(labels)
    said = {name: np.concatenate(rows) for name, rows in said.items()}
    seconds = _time({name: classifier for name, (classifier, _) in forms.items()}, sample)
    first = next(iter(forms))
    return [Form(name, size / 1e6, float((said[name] == labels).sum() / len(source)),
                 float(((said[name] == said[first]) & (said[first] != NO_GUESS)).mean()),
                 len(sample) / seconds[name], seconds[first] / seconds[name])
            for name, (_, size) in forms.items()]


def _time(classifiers: dict[str, Classifier], pixels: np.ndarray) -> dict[str, float]:
    """{name: median seconds of a call}, round by round, one call of each; the first is left out."""
    taken: dict[str, list] = {name: [] for name in classifiers}
    for _ in tqdm(range(ROUNDS + 1), desc='timing', unit='round', leave=False, disable=None):
        for name, classifier in classifiers.items():
            start = time.perf_counter()
            classifier.logits(pixels)
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def table(forms: list[Form]) -> Iterator[list[str]]:
    """Rows of text for `cli.show_table`, the first a header."""
    yield ['form', 'MB', 'top-1', 'agrees', 'samples/s', 'times the first']
    for form in forms:
        yield [form.name, f'{form.megabytes:.1f}', f'{100 * form.top1:.2f} %',
               f'{100 * form.agreement:.2f} %', f'{form.per_second:.1f}', f'{form.ratio:.2f}']
