#!/usr/bin/env python
"""Train a video network, by the same loop, checkpoints and ranks as train_imagenet.py. Data is in
class folders DIR/train/<class> and DIR/val/<class>, in lists, or UCF-101's (--split).

    python scripts/train_video.py                   which way a digit moves; scored and exported
    python scripts/train_video.py --recipe kinetics_ablation --data-dir ~/kinetics --num-gpus 1
    python scripts/train_video.py --data-dir ~/kinetics --pretrained resnet50.params
    python scripts/train_video.py --split 1 --data-dir ~/ucf101 --pretrained a2_resnet50_3d.params
                                                    the paper's Sections 3.2 and 3.4
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry
from gluon_a2.train import command


def train_network(recipe, options):
    """Train, and say how it ended and where results are; the embedded set is scored, too."""
    from gluon_a2.train.loop import train
    from gluon_a2.train.reading import save_contact_sheet
    folder, validation = train(recipe, options)
    prefix = folder / 'export' / recipe.model
    report = (f'{100 * validation.accuracy:.2f} % top-1 by one clip of each of {validation.images} '
              f'held-out videos; curve: {folder}/curve.png; network: {prefix}')
    if recipe.ranks > 1 or options.synthetic_data:
        return report
    save_contact_sheet(recipe, options, folder / 'clips.png')
    report += f'; what it saw: {folder}/clips.png'
    return report if options.data else f'{report}\n{demonstrate(prefix)}'


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
    command.run(command.parse(__doc__, argv, 3), train_network)


if __name__ == '__main__':
    main()
