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


JOBS = 'inference 1', 'inference 8', 'inference 32', 'training 8'


def measured():
    """The rows of the networks in peers.csv, by threads, job and engine."""
    return {(row['threads'], f'{row["task"]} {row["batch"]}', row['engine']): row
            for row in rows('peers') if row['task'] != 'product'}


def peers(threads):
    """A row for each engine, its tasks side by side."""
    found = {(job, engine): row for (count, job, engine), row in measured().items()
             if count == threads}

    def cell(job):
        return lambda engine: ('–' if (job, engine) not in found else '{} ({:.0%})'.format(
            figure(found[job, engine]['images_per_s']),
            float(found[job, engine]['share_of_peak'])))

    return table(dict.fromkeys(engine for _, engine in found), [
        ('engine', str), *((job, cell(job)) for job in JOBS),
        ('logits differ by', lambda engine: found['inference 8', engine]['logits_differ'])])


def best():
    """The best of ours in MXNet beside the best of the others, where there are others."""
    found = {}
    for (threads, job, engine), row in measured().items():
        side = 'ours' if engine.startswith('MXNet') else 'other'
        pair = found.setdefault((threads, job, row['precision']), {})
        if side not in pair or float(row['images_per_s']) > float(pair[side]['images_per_s']):
            pair[side] = row
    keys = sorted((key for key in found if len(found[key]) == 2),
                  key=lambda key: (key[0], JOBS.index(key[1]), key[2] != 'float32', key[2]))

    def named(side):
        return lambda key: '{}, {}'.format(figure(found[key][side]['images_per_s']),
                                           found[key][side]['engine'])

    return table(keys, [
        ('threads', lambda key: key[0]), ('job', lambda key: key[1]),
        ('in', lambda key: key[2]), ('best MXNet, images/s', named('ours')),
        ('best other, images/s', named('other')),
        ('ratio', lambda key: '{:.2f}'.format(float(found[key]['ours']['images_per_s'])
                                              / float(found[key]['other']['images_per_s'])))])


def peaks():
    """The best product of each precision and number of threads."""
    top = {}
    for row in rows('peers'):
        if row['task'] == 'product':
            key = row['threads'], row['precision']
            top[key] = float(row['gflop_per_s']) / float(row['share_of_peak'])
    return table(top, [('threads', lambda key: key[0]), ('precision', lambda key: key[1]),
                       ('GFLOP/s', lambda key: f'{top[key]:.0f}')])


def layers():
    """Milliseconds of a pass by kind of layer, and how near convolutions come to the roofline."""
    forms, kinds = ([*dict.fromkeys(row[name] for row in rows('layers'))]
                    for name in ('form', 'kind'))

    def cell(form):
        def text(kind):
            own = [row for row in rows('layers') if (row['form'], row['kind']) == (form, kind)]
            took = sum(float(row['ms']) for row in own)
            ideal = sum(float(row['ms']) * float(row['share_of_roofline'] or 0) for row in own)
            share = f' ({ideal / took:.0%})' if ideal else ''
            return f'{took:.0f}{share}' if own else '–'
        return text

    totals = {form: sum(float(row['ms']) for row in rows('layers') if row['form'] == form)
              for form in forms}
    return table(kinds, [('ms', str), *((f'{form}: {totals[form]:.0f}', cell(form))
                                        for form in forms)])


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
        forms_of_photographs=photographs('forms'), best=best(), peaks=peaks(),
        one=peers('1'), two=peers('2'), layers=layers(), fuzz=fuzz(),
        crossover=table(rows('block_crossover'), [
            ('c', 'channels'), ('of', lambda row: CROSSED[row['of']]),
            ('predicted', 'predicted_positions'),
            ('measured', lambda row: row['measured_positions'] or 'Eq. 6 cheaper at all sizes')]))


if __name__ == '__main__':
    (DOCS / 'results.md').write_text(page(), encoding='utf-8')
