#!/usr/bin/env python
"""Train an image network.

With no arguments: a small A²-ResNet on scikit-learn's handwritten digits, on the CPU, then export
it.

    python scripts/train_imagenet.py

With --data-dir: ImageNet as the paper trained it (Section 3.3), from <dir>/train.rec and val.rec or
from class folders <dir>/train and <dir>/val. On one device, --accumulate 64 is the paper's batch of
2048.

    python scripts/train_imagenet.py --data-dir ~/imagenet --num-gpus 1 --accumulate 64 -j 16

On several, each driven by a process of its own (a rank): -np here, or the same script under
horovodrun.

    python scripts/train_imagenet.py -np 2
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser
from gluon_a2.train import command


def arguments(argv):
    """(recipe, run options, flags of the launcher) of a command line."""
    flags = parser(__doc__)
    run = command.add_run_flags(flags, 2, 'digits, or with data imagenet_a2_resnet50,')
    run.add_argument('--data-dir', help='folder with train.rec and val.rec, or with class folders '
                                        'in train and val')
    for name in ('rec-train', 'rec-train-idx', 'rec-val', 'rec-val-idx'):
        run.add_argument('--' + name, metavar='FILE', help='RecordIO file or its index, instead of '
                                                           '--data-dir')
    return command.parse(flags, argv, 2, choose_recipe)


def choose_recipe(given):
    """The recipe where none is named."""
    has_data = given['data_dir'] or given['rec_train'] or given['rec_val'] or given[
        'synthetic_data'] is not None
    return 'imagenet_a2_resnet50' if has_data else 'digits'


def train_network(recipe, given):
    """Train, and say how it ended and where the results are."""
    from gluon_a2.run.folder import Options
    from gluon_a2.train.loop import train
    folder, validation = train(recipe, Options(**given))
    return (f'{100 * validation.accuracy:.2f} % top-1, {100 * validation.top5_accuracy:.2f} % '
            f'top-5 on {validation.images} held-out images; curve: {folder}/curve.png; network: '
            f'{folder}/export/{recipe.model}')


@entry
def main(argv=None):
    """Parse, train, say where the results are."""
    command.run(argv, *arguments(argv), train_network)


if __name__ == '__main__':
    main()
