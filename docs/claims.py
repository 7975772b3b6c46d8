#!/usr/bin/env python
"""Write claims.md: claims.md.in, with tables from claims.csv, from what is counted, and from the
rows of the studies where it has braces.

    python docs/claims.py

A test holds the page to these: after a change to a claim or a study, run this and commit what it
writes.

A row of claims.csv has `where` in the paper it stands, the `claim`, its `status`, and what it is
`shown` by: tests, commands and files, with semicolons between them. The status `miniature` is read
from the rows of a study, by its hypotheses, such as "mechanism: far a2x4 > plain".
"""
import sys
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).resolve().parent
BENCHMARKS = DOCS.parent / 'benchmarks'
sys.path[:0] = [str(DOCS.parent), str(BENCHMARKS)]

from bench import read_rows  # noqa: E402
from study import all_rows, read_plan  # noqa: E402
from tables import table  # noqa: E402

MINIATURE = 'measured in miniature: '
STATUSES = {'proved': 'proved', 'counted': 'counted',
            **{word: MINIATURE + word for word in ('agrees', 'disagrees', 'undecided')},
            'planned': f'{MINIATURE}undecided (planned)',
            'contradicted': 'contradicted by the paper itself', 'not testable': 'not testable here'}
# Figures of the networks' own papers; of MF-Net's image network its authors' README.
COMPACT = {'gluoncv:mobilenetv2_1.0': '3.4 M, 300 M', 'gluoncv:shufflenet_v1': '137 M',
           'gluoncv:shufflenet_v2': '2.3 M, 146 M', 'mfnet': '5.8 M, 861 M',
           'mfnet_3d': '8.0 M, 11.1 G'}
BLOCKS = {'–': {}, 'A²': {'plug': 'a2'}, 'NL': {'plug': 'nl'}, 'SE': {'plug': 'se'}}
OTHERS = {'gluoncv:mobilenetv2_1.0': {
    'A² inside the units': {'plug': 'a2@features.8.out.2;features.15.out.2'}},
    'gluoncv:shufflenet_v1': {'A², ratio 16': {'plug': 'a2', 'ratio': 16}}}


def claims():
    """The rows of claims.csv, their status in words."""
    return [{**row, 'status': STATUSES[studied(row['study']) if row['status'] == 'miniature'
                                       else row['status']]}
            for row in read_rows(DOCS / 'claims.csv')]


def hypotheses(study):
    """(plan, "far a2x4 > plain") of each hypothesis of a cell."""
    return [tuple(part.strip().split(': ')) for part in study.split(';') if part]


def plan_file(plan):
    """The file of a plan of benchmarks/study.py."""
    return BENCHMARKS / 'study' / f'{plan}.json'


def stated(one):
    """A hypothesis of a plan as it stands in claims.csv."""
    return '{question} {better} > {than}'.format(**one)


def verdicts(plan):
    """{"far a2x4 > plain": agrees, disagrees, undecided or incomplete} of a plan by its rows."""
    from study_report import Results, judge
    found = read_plan(plan_file(plan))
    judged = judge(Results(found, all_rows(found.path.parent)))
    return {stated(one.hypothesis): one.word.partition(':')[0] for one in judged}


def studied(study):
    """What the hypotheses of a cell say together: they agree where all do, and disagree where one
    does. Those of a plan count when all of them have been run."""
    words = {}
    for plan, one in hypotheses(study):
        words.setdefault(plan, set()).add(verdicts(plan)[one])
    done = set().union(*(said for said in words.values() if 'incomplete' not in said))
    for word in ('disagrees', 'undecided', 'agrees'):
        if word in done:
            return word
    return 'planned'


def shown(row):
    """Each thing that shows a claim, as code, and the hypotheses of its study."""
    studies = dict.fromkeys(plan for plan, _ in hypotheses(row['study']))
    parts = [*evidence(row), *(f'python benchmarks/study.py benchmarks/study/{plan}.json'
                               for plan in studies)]
    return '; '.join([*(f'`{part}`' for part in parts),
                      *(f'{plan}: {one}' for plan, one in hypotheses(row['study']))])


def evidence(row):
    """The tests, commands and files of a row."""
    return [part.strip() for part in row['shown'].split(';') if part]


def of(rows):
    """Markdown of claims."""
    return table(rows, [('where', 'where'), ('claim', 'claim'), ('status', 'status'),
                        ('shown by', shown), ('note', 'note')])


def costs():
    """(Markdown of every printed cost, their statuses)."""
    from gluon_a2.paper.compare import COLUMNS, compare_all
    rows = [dict(zip(COLUMNS, figure.cells)) for figure in compare_all()
            if figure.printed is not None]
    for row in rows:
        row['status'] = STATUSES['contradicted' if 'contradiction' in row['note'] else 'counted']
    return table(rows, [(name, name) for name in (*COLUMNS[:7], 'status', 'note')]), rows


def compact():
    """Markdown of what blocks cost in compact networks."""
    from gluon_a2.cost import count_network
    from gluon_a2.models import get_model
    from gluon_a2.models.table import find_row
    lines = []
    for name, published in COMPACT.items():
        size = find_row(name).input_size
        plain = count_network(get_model(name), size)
        for blocks, options in {**BLOCKS, **OTHERS.get(name, {})}.items():
            cost = count_network(get_model(name, **options), size)
            lines.append({'network': name if not options else '', 'blocks': blocks,
                          'published': published if not options else '',
                          **{what: f'{value / 1e6:.{2 if what == "#Params, M" else 1}f}'
                                   + (f' (+{value / before - 1:.1%})' if options else '')
                             for what, value, before in (
                                 ('#Params, M', cost.parameters, plain.parameters),
                                 ('FLOPs, M', cost.flops, plain.flops))}})
    return table(lines, [(name, name) for name in lines[0]])


def page():
    """The whole page."""
    rows, (figures, counted) = claims(), costs()
    total = Counter(row['status'] for row in [*rows, *counted])
    accuracies = [row for row in rows if row['where'] > 'Table 1' and row['where'][:5] == 'Table']
    return (DOCS / 'claims.md.in').read_text(encoding='utf-8').format(
        totals=table(STATUSES.values(), [('status', str), ('claims', total.__getitem__)]),
        text=of([row for row in rows if row not in accuracies]), accuracies=of(accuracies),
        costs=figures, compact=compact())


if __name__ == '__main__':
    (DOCS / 'claims.md').write_text(page(), encoding='utf-8')
