"""The README tells the truth: its code runs, its table is what is counted. What it names is held to
the code by test_docs.py."""
import csv
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def test_the_code_runs():
    blocks = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
    assert len(blocks) == 2
    done = subprocess.run([sys.executable, '-c', ''.join(blocks)], capture_output=True, text=True,
                          cwd=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == '(1, 10)'


def test_the_cost_table_is_what_the_script_counts(tmp_path):
    subprocess.run([
        sys.executable,
        str(ROOT / 'scripts' / 'count_cost.py'), '--csv',
        str(tmp_path / 'cost.csv')
    ], check=True, capture_output=True)
    with open(tmp_path / 'cost.csv', newline='', encoding='utf-8') as file:
        # what the paper prints
        counted = [row[:6] for row in csv.reader(file) if row[3] != '–'][1:]
    shown = [[cell.strip() for cell in line.strip('|').split('|')] for line in README.splitlines()
             if re.match(r'\| (Table|Section) ', line)]
    assert len(shown) >= 15
    assert [row for row in shown if row not in counted] == []
    assert f'prints all {len(counted)} figures' in README
