"""One network in several forms, on the same samples, in turn: accuracy, agreement, size and
speed."""
import statistics
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from .. import data
from ..errors import UserError
from ..scoring.metrics import hits, name_damaged

ROUNDS = 7  # timed calls of each form, besides a first one


class Form(NamedTuple):
    """What was found of one form of the network. A sample is an image, or the middle clip of a
    video."""
    name: str
    megabytes: float  # 10⁶ bytes, its files without the metadata
    top1: float
    agreement: float  # share of samples that it classifies as the first form does
    per_second: float  # samples, the median over the rounds
    ratio: float  # to the first form's


def compare(forms, source, batch_size=32, workers=2):
    """A `Form` for each of `forms`, {name: (Classifier of one view, bytes of its files)}, on all
    samples of `source`.

    Every batch is read once and given to all in turn. Then one batch is timed, round by round, each
    form once a round. UserError where no sample can be read.
    """
    guesses, labels, sample = {name: [] for name in forms}, [], None
    transform = next(iter(forms.values()))[0].transform
    with data.Loader(source, transform,
                     workers) as loader, tqdm(total=len(source), desc='side by side', unit='sample',
                                              leave=False, disable=None) as bar:
        for batch in loader.load(data.batches(np.arange(len(source)), batch_size), 0):
            name_damaged(batch.damaged)
            bar.update(len(batch.labels) + len(batch.damaged))
            if not len(batch.labels):
                continue
            labels.append(batch.labels.copy())
            # the loader uses its memory again
            sample = batch.images.copy() if sample is None else sample
            for name, (classifier, _) in forms.items():
                guesses[name].append(classifier.logits(batch.images))
    if sample is None:
        raise UserError('none of the samples can be read: nothing can be compared')
    labels, logits = np.concatenate(labels), {
        name: np.concatenate(rows) for name, rows in guesses.items()
    }
    seconds = _time({name: classifier for name, (classifier, _) in forms.items()}, sample)
    first = next(iter(forms))
    return [Form(name, size / 1e6, float(hits(logits[name], labels, 1).sum() / len(source)),
                 float((logits[name].argmax(axis=1) == logits[first].argmax(axis=1)).mean()),
                 len(sample) / seconds[name], seconds[first] / seconds[name])
            for name, (_, size) in forms.items()]


def _time(classifiers, pixels):
    """{name: median seconds of a call}, one call of each in turn, round by round; a first round
    does not count."""
    taken = {name: [] for name in classifiers}
    for _ in tqdm(range(ROUNDS + 1), desc='timing', unit='round', leave=False, disable=None):
        for name, classifier in classifiers.items():
            start = time.perf_counter()
            classifier.logits(pixels)
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def table(forms):
    """Rows of text for `cli.show_table`, the first a header."""
    yield ['form', 'MB', 'top-1', 'agrees', 'samples/s', 'times the first']
    for form in forms:
        yield [
            form.name, f'{form.megabytes:.1f}', f'{100 * form.top1:.2f} %',
            f'{100 * form.agreement:.2f} '
            '%', f'{form.per_second:.1f}', f'{form.ratio:.2f}'
        ]
