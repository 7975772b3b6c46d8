"""docs/results.md is what the CSV files say, and pages and pictures that it names are there."""
from pathlib import Path

import tables
from loading import load

DOCS = Path(__file__).resolve().parents[1] / 'docs'
RESULTS = load('docs/results.py')


def test_the_page_is_what_the_files_say():
    assert RESULTS.page() == (DOCS / 'results.md').read_text(encoding='utf-8')


def test_cells_by_hand():
    row = {'a': '12345.6', 'a_lowest': '0.012345', 'a_highest': '99.96', 'b': None, 'c': 77.0}
    assert tables.spread('a')(row) == '12346 (0.0123–100)'
    columns = [('A', 'a'), ('M', tables.scaled('a', 1e6, '.3g')), ('B', 'b'), ('C', 'c')]
    assert tables.table([row], columns) == (
        '| A | M | B | C |\n| --- | --- | --- | --- |\n| 12345.6 | 0.0123 |  | 77 |')


def test_nothing_failed():
    """What the page calls equal was found so, and no damaged file did more than be refused or
    read."""
    assert {row['agrees'] for row in RESULTS.rows('export_zoo')} == {'yes'}
    assert sum(int(row['files']) for row in RESULTS.rows('fuzz_files')) == 100_000
    assert not any(int(row[kind]) for row in RESULTS.rows('fuzz_files')
                   for kind in ('exception', 'crash', 'hang', 'memory'))
