#!/usr/bin/env python
"""Train an image network, score it on the validation images, and export it.

    python scripts/train_imagenet.py          an A²-ResNet on scikit-learn's handwritten digits
    python scripts/train_imagenet.py -np 2    the same on two processes (ranks), or by horovodrun
    python scripts/train_imagenet.py --data-dir ~/imagenet --num-gpus 1 --accumulate 64 -j 16
                                              the paper's ImageNet (Section 3.3): batch 2048
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry
from gluon_a2.train import command


def train_network(recipe, options):
    """Train, and say how it ended and where the results are."""
    from gluon_a2.scoring.metrics import top5_text
    from gluon_a2.train.loop import train
    folder, validation = train(recipe, options)
    return (f'{100 * validation.accuracy:.2f} % top-1, '
            f'{top5_text(validation.top5_accuracy, recipe.classes)} on {validation.images} '
            f'held-out images; curve: {folder}/curve.png; network: {folder}/export/{recipe.model}')


@entry
def main(argv=None):
    """Parse, train, say where the results are."""
    command.run(command.parse(__doc__, argv, 2), train_network)


if __name__ == '__main__':
    main()
