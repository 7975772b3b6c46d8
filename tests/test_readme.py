"""The README and the pages behind it tell the truth: their code runs, their numbers are counted.
What they name is held to the code by test_docs.py."""
import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
from compare_published import AUTHORS
from test_paper import TARGETS

from gluon_a2.paper.costs import BASELINES, FIGURES, MEMORY, SAVINGS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def page(name):
    return (ROOT / 'docs' / f'{name}.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('page', ['README.md', 'docs/block.md', 'docs/models.md'])
def test_the_code_runs(page):
    """All blocks of a page, one after the other; test_tutorial.py runs those of the longer ones."""
    text = (ROOT / page).read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    assert blocks
    done = subprocess.run([sys.executable, '-c', ''.join(blocks)], capture_output=True, text=True,
                          cwd=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert page != 'README.md' or done.stdout == '(1, 10)\n'


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


def test_the_table_of_pythons_is_what_make_matrix_kept():
    with open(ROOT / 'proofs' / 'matrix.csv', newline='', encoding='utf-8') as file:
        lines = [f'| {" | ".join(row)} |' for row in csv.reader(file)]
    assert '\n'.join([lines[0], '|' + ' --- |' * 6, *lines[1:]]) in page('install')


def test_the_number_of_printed_costs():
    """Those of the networks of Tables 1 to 6, of the text, and of other systems."""
    printed = [value for figure in FIGURES for value in (figure.params, figure.flops, figure.delta)]
    printed += [*MEMORY, *SAVINGS, *(baseline.flops for baseline in BASELINES)]
    count = sum(value is not None for value in printed)
    assert f'prints all {count} printed costs' in page('reproducing')


@pytest.mark.parametrize('recipe', TARGETS)
def test_a_recipe_promises_what_the_paper_prints_and_its_authors_reached(recipe):
    text = page('reproducing')
    row, = re.findall(rf'^\| `{recipe}` \|.*$', text, re.MULTILINE)
    promised = re.findall(r'([\d.]+) %', row.rstrip('| ').rpartition('|')[2])
    authors = AUTHORS.get(recipe[len('imagenet_'):])
    figures = [*TARGETS[recipe], *([authors.top1] if authors else [])]
    assert promised == [f'{value:.1f}' for value in figures]
    assert 'not run here' in text[:text.index(row) + len(row)].rpartition('\n\n')[2]
