#!/usr/bin/env python
"""Train a video network, by the same loop, checkpoints and ranks as train_imagenet.py.

With no arguments: a small 3-D A²-ResNet on short videos of handwritten digits in motion, on the
CPU; then score it by clip and by video, export it, and name what happens in one file.

    python scripts/train_video.py

The paper's runs (Sections 3.2 and 3.4): Kinetics in folders <dir>/train/<class>/ and
<dir>/val/<class>/, or in lists.

    python scripts/train_video.py --recipe kinetics_ablation --data-dir ~/kinetics --num-gpus 1 -j
    16 python scripts/train_video.py --recipe kinetics_a2_resnet50 --data-dir ~/kinetics
    --pretrained resnet50.params python scripts/train_video.py --recipe ucf101 --split 1 --data-dir
    ~/ucf101 --pretrained a2_resnet50_3d.params
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser
from gluon_a2.train import command


def arguments(argv):
    """(recipe, run options, flags of the launcher) of a command line."""
    flags = parser(__doc__)
    run = command.add_run_flags(flags, 3, 'moving_digits, with data kinetics_a2_resnet50, with '
                                          '--split ucf101,')
    run.add_argument('--data-dir', help='folder with class folders in train and val; with --split, '
                                        'the folder of UCF-101; with lists, the folder that their '
                                        "paths start from")
    run.add_argument('--list-train', metavar='FILE', help='list of the training videos')
    run.add_argument('--list-val', metavar='FILE', help='list of the validation videos')
    run.add_argument('--list-format', metavar='FORM', help='path-label, path-frames-label, '
                                                           'id-label-path, or kinetics-csv, the '
                                                           'official CSV')
    run.add_argument('--split', type=int, choices=(1, 2, 3), help='of UCF-101')
    run.add_argument('--splits', metavar='DIR', help='folder of the UCF-101 split files, where not '
                                                     'beside the videos')
    return command.parse(flags, argv, 3, choose_recipe)


def choose_recipe(given):
    """The recipe where none is named."""
    if given['split'] is not None:
        return 'ucf101'
    has_data = given['data_dir'] or given['list_train'] or given['synthetic_data'] is not None
    return 'kinetics_a2_resnet50' if has_data else 'moving_digits'


def train_network(recipe, given):
    """Train, and say how it ended and where the results are; the embedded set is scored and looked
    at, too."""
    from gluon_a2.run.folder import Options
    from gluon_a2.train.loop import train
    from gluon_a2.train.reading import save_contact_sheet
    options = Options(**given)
    folder, validation = train(recipe, options)
    prefix = folder / 'export' / recipe.model
    told = (f'{100 * validation.accuracy:.2f} % top-1 by one clip of each of {validation.images} '
            f'held-out videos; curve: {folder}/curve.png; network: {prefix}')
    if recipe.ranks > 1 or options.synthetic_data:
        return told
    save_contact_sheet(recipe, options, folder / 'clips.png')
    told += f'; what it saw: {folder}/clips.png'
    return told if options.data else f'{told}\n{demonstrate(prefix)}'


def demonstrate(prefix):
    """Score the exported files on the embedded set, and name what happens in one of its videos."""
    from gluon_a2 import data
    from gluon_a2.deploy import Classifier
    net = Classifier(prefix)
    source = data.open_video_source(data.moving_digits_folder(), 'val')
    guesses = net.predict(source.name(0))[:3]
    return f'{net.score(source).sentence()}\n{source.name(0)}: ' + ', '.join(
        f'{name} {100 * share:.2f} %' for name, share in guesses)


@entry
def main(argv=None):
    """Parse, train, say where the results are."""
    command.run(argv, *arguments(argv), train_network)


if __name__ == '__main__':
    main()
