#!/usr/bin/env python3
"""Say what a study found: write docs/study.md and its pictures from plans and rows alone.

    python benchmarks/study_report.py             # every plan of benchmarks/study/

The page is docs/study.md.in, with a table in the place of each {brace}. Tests hold it to the rows.

Each hypothesis of a plan says that one network is better than another at a question, or worse by
less than a margin. Its networks are compared seed by seed, in points of top-1 after the last epoch:

- the mean difference with its 95 % interval by Student's t, and by 10,000 bootstrap samples of the
  seeds (percentiles);
- how often the first was better, a tie counting half, with the 95 % interval of Wilson;
- p: of all ways to swap the two networks within seeds, the share whose mean difference is as far
  from zero or farther (two-sided and exact; Fisher's sign-flip test), corrected for the number of
  hypotheses in the plan by Holm's method.

A hypothesis *agrees* where p after correction is below 0.05 and the difference is on its side,
*disagrees* where it is on the other, and is *undecided* otherwise. Until all its seeds have run it
is *incomplete*, whatever p is. A run that failed is shown, and its seed is left out of both
networks.
"""
import itertools
import math
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple

import numpy as np
from bench import ROOT, interval, read_rows
from real_photographs import wilson
from study import OK, all_rows, in_torch, read_plan
from tables import table

from gluon_a2.cli import entry, parser
from gluon_a2.files import write_whole

PLANS = ROOT / 'benchmarks' / 'study'
DOCS = ROOT / 'docs'
SUPPORT = ROOT / 'benchmarks' / 'attention_support.csv'
LEVEL = 0.05
MOST_EXACT = 16  # seeds, above which swaps are drawn
SAMPLES = 10_000
DRAWN = 3  # seeds, below which an interval is too wide to be shown
RESAMPLED = 5  # pairs, below which a bootstrap interval is too narrow to be told


# ---- statistics

def bootstrap(differences, samples=SAMPLES):
    """(low, high): the 95 % percentile interval of the mean, seeds being drawn with replacement."""
    values = np.asarray(differences, float)
    drawn = np.random.default_rng(0).integers(len(values), size=(samples, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)


def sign_flip(differences):
    """Two-sided p of a mean of zero, from all signs of the differences, or from 2¹⁶ drawn ones."""
    values = np.asarray(differences, float)
    if len(values) <= MOST_EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=len(values))))
    else:
        signs = np.random.default_rng(0).choice((1, -1), size=(2 ** MOST_EXACT, len(values)))
        signs[0] = 1  # the signs that were seen are among them
    means = np.abs(signs @ values)
    return float(np.mean(means >= abs(values.sum()) - 1e-9))


def holm(values):
    """p values corrected by Holm's step-down method, in the order given."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    corrected, largest = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = largest
    return corrected


def wins(differences):
    """(share, low, high): how often the first was better, a tie counting half, and Wilson's
    interval."""
    share = statistics.mean(0.5 if d == 0 else float(d > 0) for d in differences)
    low, high = wilson(share, len(differences))
    return share, max(low, 0.0), min(high, 1.0)


# ---- rows

class Results:
    """The rows of a plan by what they are of; `kept` has one finished row a run."""

    def __init__(self, plan, rows):
        runs = {run.key: run for run in plan.runs}
        self.plan = plan
        self.rows = [row for row in rows if row['run'] in runs]
        self.kept: Dict[tuple, dict] = {}
        self.duplicates: List[tuple] = []  # (run, whether its rows agree)
        self.failed: Dict[tuple, str] = {}
        for row in self.rows:
            at = row['question'], row['arm'], int(row['seed'])
            if row['status'] != OK:
                self.failed[at] = row['status']
            elif at in self.kept:
                self.duplicates.append((at, self.kept[at]['curve'] == row['curve']))
            else:
                self.kept[at] = row
        self.planned = {at: [run.seed for run in plan.runs if (run.question, run.arm) == at]
                        for at in dict.fromkeys((run.question, run.arm) for run in plan.runs)}

    @property
    def processor(self):
        """That of most of its runs."""
        return statistics.mode([row['processor'] for row in self.kept.values()] or [''])

    def of(self, question, arm):
        """{seed: row} of a network's finished runs."""
        return {seed: self.kept[question, arm, seed]
                for seed in self.planned.get((question, arm), ())
                if (question, arm, seed) in self.kept}

    def pairs(self, question, better, than):
        """{seed: points by which the first is better}, of the seeds that both finished."""
        first, second = self.of(question, better), self.of(question, than)
        return {seed: 100 * (float(row['top1']) - float(second[seed]['top1']))
                for seed, row in first.items() if seed in second}


class Verdict(NamedTuple):
    """What came of a hypothesis; `p` is corrected."""
    hypothesis: dict
    differences: List[float]
    planned: int
    p: float
    word: str


def judge(results):
    """A `Verdict` for each hypothesis of the plan, corrected together."""
    asked, found = results.plan.content['hypotheses'], []
    for one in asked:
        at = one['question'], one['better'], one['than']
        pairs = list(results.pairs(*at).values())
        planned = len(set(results.planned.get(at[:2], ())) &
                      set(results.planned.get((at[0], at[2]), ())))
        p = sign_flip([d + one.get('margin', 0) for d in pairs]) if pairs else 1.0
        found.append((one, pairs, planned, p))
    verdicts = []
    for (one, pairs, planned, _), p in zip(found, holm([p for *_, p in found])):
        if len(pairs) < planned or not pairs:
            word = f'incomplete: {len(pairs)} of {planned} seeds'
        elif p >= LEVEL:
            word = 'undecided'
        else:
            ahead = statistics.mean(pairs) + one.get('margin', 0) > 0
            word = 'agrees' if ahead else 'disagrees'
        verdicts.append(Verdict(one, pairs, planned, p, word))
    return verdicts


# ---- tables

def points(value):
    """A difference in points; what rounds to zero has no minus."""
    return f'{round(value, 1) + 0.0:+.1f}'


def between(low, high):
    """An interval in points."""
    return '–' if math.isnan(low) else f'{points(low)} to {points(high)}'


def hypotheses(results):
    """Markdown of all verdicts."""
    def expected(verdict):
        one = verdict.hypothesis
        margin = f', or at most {one["margin"]} points worse' if one.get('margin') else ''
        return f'{one["question"]}: {one["better"]} > {one["than"]}{margin}'

    def measured(form):
        return lambda verdict: form(verdict.differences) if verdict.differences else '–'

    def by_t(differences):
        mean, half = interval(differences)
        shown = between(mean - half, mean + half) if len(differences) >= DRAWN else '–'
        return f'{points(mean)} ({shown})'

    def by_wins(differences):
        share, low, high = wins(differences)
        return f'{share:.2f} ({low:.2f} to {high:.2f})'

    return table(judge(results), [
        ('expected', expected), ('the paper', lambda verdict: verdict.hypothesis['paper']),
        ('pairs', lambda verdict: len(verdict.differences)),
        ('difference, points (95 %, t)', measured(by_t)),
        ('95 %, bootstrap', measured(
            lambda d: between(*bootstrap(d)) if len(d) >= RESAMPLED else '–')),
        ('P(better) (95 %)', measured(by_wins)),
        ('p (Holm)', lambda verdict: '–' if verdict.word.startswith('incomplete')
         else f'{verdict.p:.3f}'),
        ('', lambda verdict: f'**{verdict.word}**')])


def spread_of(values):
    """Mean and 95 % interval, in per cent."""
    values = [100 * value for value in values]
    if not values:
        return '–'
    mean, half = interval(values)
    return f'{mean:.1f}' if len(values) < DRAWN else f'{mean:.1f} ± {half:.1f}'


def arms(results):
    """Markdown of all networks of a plan, a row for each question."""
    lines = [{'at': at, 'rows': results.of(*at), 'planned': seeds}
             for at, seeds in sorted(results.planned.items(),
                                     key=lambda item: results.plan.content['questions'].index(
                                         item[0][0]))]

    def cell(form):
        return lambda line: form(list(line['rows'].values())) if line['rows'] else '–'

    def extremes(rows):
        values = [100 * float(row['top1']) for row in rows]
        return f'{min(values):.1f} to {max(values):.1f}'

    def seconds(rows):
        taken = cpu_seconds(results, rows)
        return '–' if taken is None else f'{taken:.0f}'

    def failures(line):
        return sum((*line['at'], seed) in results.failed for seed in line['planned'])

    return table(lines, [
        ('question', lambda line: line['at'][0]), ('network', lambda line: line['at'][1]),
        ('seeds', lambda line: f'{len(line["rows"])} of {len(line["planned"])}'),
        ('failed', failures),
        ('top-1, % (95 %)', cell(lambda rows: spread_of([float(row['top1']) for row in rows]))),
        ('lowest to highest', cell(extremes)),
        ('in training, %', cell(lambda rows: spread_of(
            [float(row['train_curve'].split()[-1]) for row in rows]))),
        ('parameters, M', cell(lambda rows: f'{int(rows[0]["parameters"]) / 1e6:.2f}')),
        ('MFLOPs', cell(lambda rows: f'{int(rows[0]["flops"]) / 1e6:.1f}')),
        *([] if in_torch(results.plan) else  # where several runs share a GPU
          [(f'CPU seconds, {results.processor or "none yet"}', cell(seconds))])])


def cpu_seconds(results, rows):
    """The median of what the runs took on the processor that most runs of the plan were made on,
    or None: processors differ by a factor of two."""
    taken = [float(row['cpu_seconds']) for row in rows if row['processor'] == results.processor]
    return statistics.median(taken) if taken else None


def plan_of(results):
    """What a plan trains, and how its runs stand, as a paragraph and a table of its networks."""
    plan = results.plan
    flags = {name: ' '.join(f'{key}={value}' for key, value in changed.items())
             for name, changed in plan.content['arms'].items()}
    taken = sum(float(row['cpu_seconds']) for row in results.kept.values()) / 3600
    commits, processors = (sorted({row[name] for row in results.rows})
                           for name in ('commit', 'processor'))
    train = ' '.join(f'{key}={value}' for key, value in plan.content['train'].items())
    same = all(equal for _, equal in results.duplicates)
    twice = f'{len(results.duplicates)} were done twice{"" if same else ", with other results"}'
    hours = (f'Their processes took {taken:.1f} hours of CPU time'
             if in_torch(plan) else f'They took {taken:.1f} core-hours')
    lines = [f'{len(results.kept)} of {len(plan.runs)} runs are done, {len(results.failed)} failed '
             f'and {twice}. {hours}. Commit of the code: '
             f'{", ".join(commits) or "none yet"}; processors: '
             f'{", ".join(processors) or "none yet"}. All networks train with `{train}`.', '',
             table(flags, [('network', str), ('its flags', lambda name: f'`{flags[name]}`')])]
    return '\n'.join(lines)


# ---- pictures

def colours(plan):
    """{network: colour}."""
    from matplotlib import colormaps
    wheel = colormaps['tab20'].colors
    wheel = [*wheel[::2], *wheel[1::2]]
    return {arm: wheel[i % len(wheel)] for i, arm in enumerate(plan.content['arms'])}


def asked(results):
    """The questions that some network has answered, or else the first."""
    questions = results.plan.content['questions']
    return [one for one in questions if any(at[0] == one for at in results.kept)] or questions[:1]


def curves(results):
    """PNG: top-1 by epoch, the mean over seeds with its 95 % interval, a panel a question."""
    from gluon_a2.visualization import figure as drawing
    questions, paint = asked(results), colours(results.plan)
    figure = drawing.new_figure(6.6 * len(questions), 4.6)
    for axes, question in zip(figure.subplots(1, len(questions), squeeze=False)[0], questions):
        for arm, colour in paint.items():
            lines = [[100 * float(value) for value in row['curve'].split()]
                     for row in results.of(question, arm).values()]
            if not lines:
                continue
            at = range(1, len(lines[0]) + 1)
            mean, half = np.transpose([interval(column) for column in zip(*lines)])
            axes.plot(at, mean, color=colour, marker='o', markersize=3,
                      label=f'{arm} ({len(lines)})')
            if len(lines) >= DRAWN:
                axes.fill_between(at, mean - half, mean + half, color=colour, alpha=0.12)
        axes.set(title=question, xlabel='epoch', ylabel='validation top-1, %', ylim=(0, 101))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        _legend(axes)
    return drawing.as_png(figure)


def _legend(axes):
    """The networks beside a panel, the best first."""
    handles, labels = axes.get_legend_handles_labels()
    ends = [np.ravel(getattr(handle, 'lines', [handle])[0].get_ydata())[-1] for handle in handles]
    order = sorted(range(len(ends)), key=lambda i: -ends[i])
    if order:
        axes.legend([handles[i] for i in order], [labels[i] for i in order], fontsize=8,
                    loc='center left', bbox_to_anchor=(1, 0.5), title='network (seeds)',
                    title_fontsize=8)


def costs(results):
    """PNG: top-1 against multiply-adds and against CPU seconds, a row of panels for each question.
    """
    from gluon_a2.visualization import figure as drawing
    questions, paint = asked(results), colours(results.plan)
    figure = drawing.new_figure(10, 4.4 * len(questions))
    panels = figure.subplots(len(questions), 2, squeeze=False, sharey='row')
    for question, row in zip(questions, panels):
        for arm, colour in paint.items():
            rows = list(results.of(question, arm).values())
            if not rows:
                continue
            mean, half = interval([100 * float(one['top1']) for one in rows])
            for axes, x in zip(row, (int(rows[0]['flops']) / 1e6, cpu_seconds(results, rows))):
                if x is None:
                    continue
                axes.errorbar(x, mean, half if len(rows) >= DRAWN else 0, color=colour, marker='o',
                              capsize=3, label=f'{arm} ({len(rows)})')
        row[0].set(xlabel='million multiply-adds a picture', ylabel=f'{question}: top-1, %')
        row[1].set(xlabel=f'CPU seconds of a run (median), {results.processor}')
        for axes in row:
            axes.grid(alpha=0.3)
        _legend(row[1])
    return drawing.as_png(figure)


def seeds(results):
    """PNG: top-1 of every seed and its mean, network by network, a panel a question."""
    from gluon_a2.visualization import figure as drawing
    questions, paint = asked(results), colours(results.plan)
    shown = {one: [arm for arm in paint if results.of(one, arm)] for one in questions}
    figure = drawing.new_figure(1.5 + 0.85 * sum(map(len, shown.values())), 3.6)
    panels = figure.subplots(1, len(questions), squeeze=False, sharey=True, width_ratios=[
        max(1, len(arms)) for arms in shown.values()])[0]
    for axes, (question, arms) in zip(panels, shown.items()):
        for x, arm in enumerate(arms):
            values = [100 * float(row['top1']) for row in results.of(question, arm).values()]
            aside = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else [0]
            axes.plot(x + np.array(aside), values, 'o', color=paint[arm], markersize=4, alpha=0.7)
            axes.hlines(statistics.mean(values), x - 0.35, x + 0.35, color='black')
        axes.set(title=question, xticks=range(len(arms)), xticklabels=arms, ylim=(0, 101))
        axes.tick_params('x', labelsize=8, rotation=30)
        axes.grid(axis='y', alpha=0.3)
    panels[0].set_ylabel('validation top-1, %')
    return drawing.as_png(figure)


# ---- the page

def read_results(folder=PLANS):
    """{name: Results} of all plans of a folder."""
    rows = all_rows(folder)
    return {path.stem: Results(read_plan(path), rows)
            for path in sorted(Path(folder).glob('*.json'))}


def support(rows):
    """Markdown of what `attention_support.py` kept."""
    def per_cent(*names):
        return lambda row: ', '.join(f'{100 * float(row[name]):.0f}' for name in names)

    return table(rows, [
        ('network', 'network'), ('pictures', 'pictures'), ('block', 'block'),
        ('positions', 'positions'),
        ('support, % of them: 10th, 50th, 90th percentile', per_cent(
            'support_10', 'support_50', 'support_90')),
        ('read of sparse maps, %', per_cent('read_sparse')),
        ('read of dense maps, %', per_cent('read_dense')), ('descriptors', 'descriptors'),
        ('used in a picture', 'used_in_a_picture'), ('never chosen', 'never_chosen')])


def page(found, template):
    """The Markdown of `template` with the tables of each plan."""
    tables = {f'{name}_{part.__name__}': part(results) for name, results in found.items()
              for part in (plan_of, hypotheses, arms)}
    left: Counter = Counter()  # by whether they need a GPU
    for results in found.values():
        left[in_torch(results.plan)] += len(results.plan.runs) - len(results.kept)
    return template.format(**tables, support=support(read_rows(SUPPORT)),
                           left=left[False], left_on_a_gpu=left[True])


@entry
def main(argv=None):
    """Write the page and the pictures."""
    parser(__doc__).parse_args(argv)
    found = read_results()
    template = (DOCS / 'study.md.in').read_text(encoding='utf-8')
    write_whole(DOCS / 'study.md', page(found, template).encode())
    for name, results in found.items():
        for draw in (curves, costs, seeds):
            picture = f'study_{name}_{draw.__name__}.png'
            if picture in template:
                write_whole(DOCS / picture, draw(results))


if __name__ == '__main__':
    sys.exit(main())
