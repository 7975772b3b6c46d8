#!/usr/bin/env python
"""Write results.md: results.md.in, with tables from the CSV files of benchmarks and proofs where it
has braces.

    python docs/results.py

A test holds the page to the files: after a benchmark, run this and commit what it writes.
"""
import statistics
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.append(str(DOCS.parent / 'benchmarks'))

from bench import interval, read_rows  # noqa: E402
from bfloat16 import summary  # noqa: E402
from tables import figure, table  # noqa: E402

CROSSED = {'forward_ms': 'time, forward', 'step_ms': 'time, forward and backward',
           'step_mb': 'memory, forward and backward'}


PHOTOGRAPHS = {'samples': '{} of 1000 classes', 'imagenette': '{} of Imagenette',
               'validation': '{} of ImageNet’s validation set'}


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


def per_cent(row, name='top1'):
    """A share as per cent."""
    return f'{100 * float(row[name]):.1f} %' if row[name] else ''


def photographs(*steps):
    """What was scored, a row each, with its 95 % interval."""
    found = [row for row in rows('real_photographs') if row['step'] in steps]
    return table(found, [
        ('network', 'network'), ('form', 'form'), ('photographs', lambda row: PHOTOGRAPHS[
            row['data']].format(row['images'])),
        ('top-1 (95 % interval)', lambda row: f'{per_cent(row)} ({per_cent(row, "low")} to '
                                              f'{per_cent(row, "high")})'),
        ('top-5', lambda row: per_cent(row, 'top5')),
        ('among its ten', lambda row: per_cent(row, 'among')),
        *([('same logits', lambda row: {'True': 'to the bit', 'False': 'no'}[row['same_logits']])]
          if 'plug' in steps else [])])


def tuned():
    """A row for each network that was fine-tuned: its seeds, and how far it is from the plain one.
    """
    found = {}
    for row in rows('real_photographs'):
        if row['step'] == 'tune':
            found.setdefault(row['network'], []).append(100 * float(row['top1']))
    plain = found['squeezenet1.0']

    def difference(name):
        if found[name] is plain:
            return ''
        mean, half = interval([one - other for one, other in zip(found[name], plain)])
        return f'{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})'

    return table(found, [
        ('network', str), ('top-1 of each seed, %', lambda name: ', '.join(
            f'{value:.2f}' for value in found[name])),
        ('mean', lambda name: f'{sum(found[name]) / len(found[name]):.2f}'),
        ('less the plain one (95 %, paired)', difference)])


def loader_ms():
    """Processor time of an image in our loader: the median of the rounds."""
    return statistics.median(float(row['processor_ms_per_image'])
                             for row in rows('data_pipeline') if row['pipeline'] == 'Loader')


def page():
    """The whole page."""
    return (DOCS / 'results.md.in').read_text(encoding='utf-8').format(
        export_zoo=table(rows('export_zoo'), [
            ('network', 'network'), ('input', 'input'), ('folded', 'folded'),
            ('fold, float64', 'fold_float64'), ('fold, float32', 'fold_float32'),
            ('ONNX', 'onnx_difference'), ('ONNX file, MB', 'onnx_mb')]),
        forms=table(rows('forms'), [(name, name) for name in rows('forms')[0]]),
        loader_ms=f'{loader_ms():.2f}', loader_cores=f'{8 * 2500 * loader_ms() / 1000:.0f}',
        bfloat16_speed=rows('bfloat16_speed')[1]['ratio'], busy=table(rows('busy'), [
            ('task', 'task'), ('machine', 'machine'), ('way', 'way'),
            ('ms', lambda row: f'{row["ms"]} ({row["lowest"]}–{row["highest"]})'),
            ('times ours', 'times_ours')]),
        bfloat16=table(summary(rows('bfloat16')), [
            ('task', 'task'), ('seeds', 'seeds'), ('float32, %', 'float32'),
            ('bfloat16, %', 'bfloat16'), ('difference, points', 'difference'),
            ('95 % interval', 'interval')]),
        scored=photographs('score'), plugged=photographs('plug'), tuned=tuned(),
        forms_of_photographs=photographs('forms'), peers=peers(), peak=peak(), fuzz=fuzz(),
        crossover=table(rows('block_crossover'), [
            ('c', 'channels'), ('of', lambda row: CROSSED[row['of']]),
            ('predicted', 'predicted_positions'),
            ('measured', lambda row: row['measured_positions'] or 'Eq. 6 cheaper at all sizes')]))


if __name__ == '__main__':
    (DOCS / 'results.md').write_text(page(), encoding='utf-8')
