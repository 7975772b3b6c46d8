#!/usr/bin/env python
"""Write results.md: results.md.in, with tables from the CSV files of benchmarks and proofs where it
has braces.

    python docs/results.py

A test holds the page to the files: after a benchmark, run this and commit what it writes.
"""
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.append(str(DOCS.parent / 'benchmarks'))

from bench import read_rows  # noqa: E402
from bfloat16 import summary  # noqa: E402
from tables import figure, table  # noqa: E402

CROSSED = {'forward_ms': 'time, forward', 'step_ms': 'time, forward and backward',
           'step_mb': 'memory, forward and backward'}


def rows(name):
    """The rows of a CSV file of benchmarks/ or proofs/, as dicts."""
    (path,) = DOCS.parent.glob(f'[bp]*/{name}.csv')
    return read_rows(path)


def peers():
    """A row for each engine, its tasks side by side."""
    found = {}
    for row in rows('peers'):
        if row['task'] != 'sgemm':
            found.setdefault(row['engine'], {})[f'{row["task"]} {row["batch"]}'] = row

    def cell(task):
        return lambda engine: ('–' if task not in found[engine] else '{} ({}×, {:.0%})'.format(
            figure(found[engine][task]['images_per_s']), found[engine][task]['ratio_to_ours'],
            float(found[engine][task]['share_of_peak'])))

    return table(found, [
        ('engine', str), *((f'{task}: images/s (× ours, of the peak)', cell(task))
                           for task in ('inference 1', 'inference 8', 'training 8')),
        ('logits differ by', lambda engine: found[engine]['inference 8']['logits_differ'])])


def peak():
    """The best round of a float32 product, of which `share_of_peak` is."""
    best = max((row for row in rows('peers') if row['task'] == 'sgemm'),
               key=lambda row: float(row['gflop_per_s']))
    rate = float(best['gflop_per_s']) / float(best['share_of_peak'])
    return f'{rate:.0f} GFLOP/s by {best["engine"]}'


def fuzz():
    """Totals by format."""
    found = {}
    for row in rows('fuzz_files'):
        total = found.setdefault(row['format'], {'kinds': 0})
        total['kinds'] += 1
        for name in ('files', 'refused', 'accepted', 'exception', 'crash', 'hang', 'memory'):
            total[name] = total.get(name, 0) + int(row[name])
    counts = {'kinds of damage': 'kinds', 'mutated': 'files', 'refused': 'refused',
              'accepted': 'accepted', 'exceptions': 'exception', 'crashes': 'crash',
              'hangs over 1 s': 'hang', 'out of memory': 'memory'}
    return table(found, [('files', str), *((title, lambda kind, name=name: f'{found[kind][name]:,}')
                                           for title, name in counts.items())])


def page():
    """The whole page."""
    return (DOCS / 'results.md.in').read_text(encoding='utf-8').format(
        export_zoo=table(rows('export_zoo'), [
            ('network', 'network'), ('input', 'input'), ('folded', 'folded'),
            ('fold, float64', 'fold_float64'), ('fold, float32', 'fold_float32'),
            ('ONNX', 'onnx_difference'), ('ONNX file, MB', 'onnx_mb')]),
        forms=table(rows('forms'), [(name, name) for name in rows('forms')[0]]),
        bfloat16=table(summary(rows('bfloat16')), [
            ('task', 'task'), ('seeds', 'seeds'), ('float32, %', 'float32'),
            ('bfloat16, %', 'bfloat16'), ('difference, points', 'difference'),
            ('95 % interval', 'interval')]),
        peers=peers(), peak=peak(), fuzz=fuzz(),
        crossover=table(rows('block_crossover'), [
            ('c', 'channels'), ('of', lambda row: CROSSED[row['of']]),
            ('predicted', 'predicted_positions'),
            ('measured', lambda row: row['measured_positions'] or 'Eq. 6 cheaper at all sizes')]))


if __name__ == '__main__':
    (DOCS / 'results.md').write_text(page(), encoding='utf-8')
