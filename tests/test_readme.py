"""The README tells the truth: its code runs, its numbers are those of the code. What it names is
held to the code by test_docs.py."""
import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gluon_a2.paper.accuracies import TARGETS
from gluon_a2.paper.costs import BASELINES, FIGURES, MEMORY, SAVINGS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def test_the_code_runs():
    blocks = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
    assert len(blocks) == 2
    done = subprocess.run([sys.executable, '-c', ''.join(blocks)], capture_output=True, text=True,
                          cwd=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == '(1, 10)'


def test_the_table_of_pythons_is_what_make_matrix_kept():
    with open(ROOT / 'proofs' / 'matrix.csv', newline='', encoding='utf-8') as file:
        lines = [f'| {" | ".join(row)} |' for row in csv.reader(file)]
    assert '\n'.join([lines[0], '|' + ' --- |' * 6, *lines[1:]]) in README


def test_the_number_of_printed_costs():
    """Those of the networks of Tables 1 to 6, of the text, and of other systems."""
    printed = [value for figure in FIGURES for value in (figure.params, figure.flops, figure.delta)]
    printed += [*MEMORY, *SAVINGS, *(baseline.flops for baseline in BASELINES)]
    assert f'prints all {sum(value is not None for value in printed)} printed costs' in README


@pytest.mark.parametrize('recipe', TARGETS)
def test_a_recipe_promises_what_the_paper_prints_and_its_authors_reached(recipe):
    row, = re.findall(rf'^\| `{recipe}` \|.*$', README, re.MULTILINE)
    promised = re.findall(r'([\d.]+) %', row.rstrip('| ').rpartition('|')[2])
    target = TARGETS[recipe]
    assert promised == [f'{value:.1f}' for value in (*target.figures.values(), target.authors)
                        if value]
    assert 'not run here' in README[:README.index(row) + len(row)].rpartition('\n\n')[2]
