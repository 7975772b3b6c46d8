"""docs/claims.md is what its files say, and each claim still has what shows it."""
import argparse
import ast
import functools
import json
import shlex
from pathlib import Path

import pytest
from loading import load

from gluon_a2.models.table import find_row
from gluon_a2.run import recipes
from gluon_a2.run.network import check_model

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = load('docs/claims.py')
ROWS = CLAIMS.read_rows(ROOT / 'docs' / 'claims.csv')


@functools.lru_cache(maxsize=None)
def named(path):
    tree = ast.parse((ROOT / path).read_text(encoding='utf-8'))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def trained(script, words):
    """The recipe that a command trains by, checked as the script would."""
    dims = 3 if script == 'train_video.py' else 2
    parser = argparse.ArgumentParser()
    for flag in ('--recipe', '--data-dir', '--split'):
        parser.add_argument(flag)
    recipes.add_flags(parser, dims)
    given = vars(parser.parse_args(words))
    name, _, _ = (given.pop(key) for key in ('recipe', 'data_dir', 'split'))
    recipe = recipes.choose(name or recipes.PAPER[dims], given, dims)
    check_model(recipe)
    assert find_row(recipe.model)


def fault(row):
    """What is wrong with a row, or None."""
    if row['status'] not in {*CLAIMS.STATUSES, 'miniature'}:
        return f'unknown status {row["status"]}'
    if (row['status'] == 'miniature') != bool(row['study']):
        return 'a study goes with the status miniature'
    if not row['study'] and not CLAIMS.evidence(row):
        return 'nothing shows it'
    for plan, one in CLAIMS.hypotheses(row['study']):
        plan = CLAIMS.read_plan(CLAIMS.plan_file(plan))
        if one not in map(CLAIMS.stated, plan.content['hypotheses']):
            return f'{plan.path.name} has no hypothesis {one}'
    for part in CLAIMS.evidence(row):
        path, _, test = part.partition('::')
        words = shlex.split(path)
        file = ROOT / words[words[0] == 'python']
        if not file.exists():
            return f'no file {file.name}'
        if test and test not in named(path):
            return f'no test {test}'
        if file.name.startswith('train_'):
            trained(file.name, words[2:])
    return None


@pytest.mark.parametrize('row', ROWS, ids=lambda row: f'{row["where"]}: {row["claim"][:40]}')
def test_a_claim_has_what_shows_it(row):
    assert row['where'] and row['claim'] and fault(row) is None


def test_claims_are_told_apart():
    assert len({(row['where'], row['claim']) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize('changed, found', [
    ({}, None), ({'status': 'true'}, 'unknown status true'), ({'shown': ''}, 'nothing shows it'),
    ({'shown': 'tests/test_claims.py::test_gone'}, 'no test test_gone'),
    ({'shown': 'tests/test_gone.py::test_it'}, 'no file test_gone.py'),
    ({'shown': 'benchmarks/gone.csv'}, 'no file gone.csv'),
    ({'shown': 'python scripts/gone.py --x'}, 'no file gone.py'),
    ({'status': 'miniature'}, 'a study goes with the status miniature'),
    ({'study': 'mechanism: far a > b'}, 'a study goes with the status miniature'),
    ({'status': 'miniature', 'study': 'mechanism: far a > b'},
     'mechanism.json has no hypothesis far a > b')])
def test_a_claim_that_lost_what_shows_it_is_found(changed, found):
    row = {'status': 'proved', 'study': '',
           'shown': 'tests/test_claims.py::test_claims_are_told_apart'}
    assert fault({**row, **changed}) == found


@pytest.mark.parametrize('words', ['--recipe gone', '--model gone', '--recipe ucf101 --data-dir D'])
def test_a_command_that_would_not_start_is_found(words):
    with pytest.raises(ValueError):  # UserError is one
        trained('train_video.py', words.split())


@pytest.mark.parametrize('words, together', [
    (['agrees', 'agrees'], 'agrees'), (['agrees', 'disagrees'], 'disagrees'),
    (['agrees', 'undecided'], 'undecided'), (['disagrees', 'incomplete'], 'planned'),
    (['agrees', 'incomplete'], 'planned')])
def test_what_several_hypotheses_say_together(monkeypatch, words, together):
    names = 'far a > b', 'far b > c'
    monkeypatch.setattr(CLAIMS, 'verdicts', lambda plan: {'p': dict(zip(names, words))}[plan])
    assert CLAIMS.studied('p: far a > b; p: far b > c') == together


@pytest.mark.parametrize('first, second, together', [
    ('agrees', 'incomplete', 'agrees'), ('incomplete', 'disagrees', 'disagrees'),
    ('agrees', 'undecided', 'undecided'), ('incomplete', 'incomplete', 'planned')])
def test_a_plan_counts_when_it_has_been_run(monkeypatch, first, second, together):
    monkeypatch.setattr(CLAIMS, 'verdicts', lambda plan: {
        'p': {'far a > b': first}, 'q': {'far a > c': second}}[plan])
    assert CLAIMS.studied('p: far a > b; q: far a > c') == together


@pytest.mark.filterwarnings('ignore:distutils')  # GluonCV compares versions with it
def test_the_page_is_what_the_files_say():
    assert CLAIMS.page() == (ROOT / 'docs' / 'claims.md').read_text(encoding='utf-8')


def test_every_expectation_that_is_of_the_paper_is_in_the_ledger():
    """Also those that went against the block."""
    named = {pair for row in ROWS for pair in CLAIMS.hypotheses(row['study'])}
    for path in sorted((ROOT / 'benchmarks' / 'study').glob('*.json')):
        for one in json.loads(path.read_text(encoding='utf-8'))['hypotheses']:
            assert 'ours' in one['paper'] or (path.stem, CLAIMS.stated(one)) in named, one
