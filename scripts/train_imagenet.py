#!/usr/bin/env python
"""Train an image network.

With no arguments: a small A²-ResNet on scikit-learn's handwritten digits, on the CPU, then export it.

    python scripts/train_imagenet.py

With --data-dir: ImageNet as the paper trained it (Section 3.3), from <dir>/train.rec and val.rec
or from class folders <dir>/train and <dir>/val. On one device, --accumulate 64 is the paper's batch of 2048.

    python scripts/train_imagenet.py --data-dir ~/imagenet --num-gpus 1 --accumulate 64 -j 16

On several, each driven by a process of its own (a rank): -np here, or the same script under horovodrun.

    python scripts/train_imagenet.py -np 2
"""
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser
from gluon_a2.train import launch, recipes


def arguments(argv):
    """(recipe, run options, flags of the launcher) of a command line."""
    flags = parser(__doc__)
    run = flags.add_argument_group('run')
    run.add_argument('--recipe', metavar='NAME', help=f'one of {", ".join(recipes.RECIPES)}; '
                     'digits, or with data imagenet_a2_resnet50, where not given')
    run.add_argument('--data-dir', help='folder with train.rec and val.rec, or with class folders in train and val')
    for name in ('rec-train', 'rec-train-idx', 'rec-val', 'rec-val-idx'):
        run.add_argument('--' + name, metavar='FILE', help='RecordIO file or its index, instead of --data-dir')
    run.add_argument('--synthetic-data', type=int, nargs='?', const=100, metavar='STEPS', help='random pixels, '
                     'so many steps an epoch (100): how fast it trains when nothing is read')
    run.add_argument('--test-io', type=int, nargs='?', const=0, metavar='IMAGES', help='only read, an '
                     'epoch or so many images: how fast they come, and which are damaged')
    run.add_argument('--num-gpus', type=int, default=0, help='0 (CPU) or 1; one process drives one device')
    run.add_argument('-j', '--num-data-workers', type=int, default=2, help='processes that decode images')
    run.add_argument('--save-dir', help='run folder; runs/<model>-<date>-<time> where not given')
    run.add_argument('--resume', action='store_true', help='go on with the run in --save-dir, exactly')
    run.add_argument('--overwrite', action='store_true', help='delete an earlier run in --save-dir')
    run.add_argument('--save-frequency', type=int, default=1, help='epochs between checkpoints')
    run.add_argument('--save-steps', type=int, default=0, help='also a checkpoint every so many steps')
    run.add_argument('--log-interval', type=int, default=50, help='steps between log lines')
    run.add_argument('--logging-file', help='instead of train.log in the run folder')
    run.add_argument('--max-damaged', type=int, help='damaged images to leave out before stopping; 1 %% by default')
    run.add_argument('--rank-timeout', type=float, default=20, metavar='S', help='seconds without a sign of life, or '
                     'while all others wait, after which a rank is given up and the job ends')
    launch.add_flags(flags)
    recipes.add_flags(flags)
    given = vars(flags.parse_args(argv))
    processes = {name: given.pop(name) for name in launch.FLAGS}
    fields = {name: given.pop(name) for name in list(given) if name in recipes.Recipe.__dataclass_fields__}
    has_data = given['data_dir'] or given['rec_train'] or given['rec_val'] or given['synthetic_data'] is not None
    if given['synthetic_data'] is not None:
        fields.setdefault('num_epochs', 1)
    name = given.pop('recipe') or ('imagenet_a2_resnet50' if has_data else 'digits')
    ranks = processes['num_proc'] if launch.is_launcher(processes) else launch.ranks()
    return recipes.choose(name, {**fields, 'ranks': ranks}), given, processes


@entry
def main(argv=None):
    """Parse, train, say where the results are."""
    recipe, given, processes = arguments(argv)
    if launch.is_launcher(processes):
        save_dir = given['save_dir'] or str(recipes.default_folder(recipe))
        sys.exit(launch.launch(processes, sys.argv if argv is None else [sys.argv[0], *argv], save_dir))
    os.environ.update(recipes.environment(recipe))
    import logging
    logging.basicConfig(format='%(message)s')
    from gluon_a2.train.run import Options
    images, options = given.pop('test_io'), Options(**given)
    told = train_network(recipe, options) if images is None else read_images(recipe, options, images)
    if os.environ.get('HOROVOD_RANK', '0') == '0':
        print(told)


def train_network(recipe, options):
    """Train, and say how it ended and where the results are."""
    from gluon_a2.train.loop import train
    folder, validation = train(recipe, options)
    return (f'{100 * validation.accuracy:.2f} % top-1, {100 * validation.top5_accuracy:.2f} % top-5 on '
            f'{validation.images} held-out images; curve: {folder}/curve.png; network: {folder}/export/{recipe.model}')


def read_images(recipe, options, images):
    """Read without training, and say how fast that is."""
    from gluon_a2.train.reading import measure
    count, damaged, seconds = measure(recipe, options, images)
    return (f'{count} images read and {damaged} damaged in {seconds:.1f} s: {count / seconds:.0f} images/s in all, '
            f'{count / seconds / recipe.ranks:.0f} per rank')


if __name__ == '__main__':
    main()
