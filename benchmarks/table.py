"""What the benchmarks do with their rows, dicts of the same fields: keep them as CSV, and print
them."""
import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import show_table  # noqa: E402


def keep(rows, path):
    """Write rows into the CSV file `path`, and print them as a table."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    show_table([list(rows[0]), *(list(row.values()) for row in rows)])
