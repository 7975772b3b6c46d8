"""Train an image network, score it on the validation images, and export it.

    %(prog)s          # an A²-ResNet on scikit-learn's handwritten digits
    %(prog)s -np 2    # the same on two processes (ranks), or by horovodrun
    # the paper's ImageNet (Section 3.3): batch 2048
    %(prog)s --data-dir ~/imagenet --num-gpus 1 --accumulate 64 -j 16
"""
from typing import Optional, Sequence

from ..cli import entry
from ..run.options import Options
from ..run.recipes import Recipe
from ..train import command


def train_network(recipe: Recipe, options: Options) -> str:
    """Train, and say how it ended and where the results are."""
    from ..scoring.metrics import top5_text
    from ..train.loop import train
    folder, validation = train(recipe, options)
    return (f'{100 * validation.accuracy:.2f} % top-1, '
            f'{top5_text(validation.top5_accuracy, recipe.classes)} on {validation.images} '
            f'held-out images; curve: {folder}/curve.png; network: {folder}/export/{recipe.title}')


@entry
def main(argv: Optional[Sequence[str]] = None) -> None:
    command.run(command.parse(__doc__, argv, 2), train_network)
