"""Train a video network, score it on the validation videos, and export it.

Data is in class folders DIR/train/<class> and DIR/val/<class>, in lists, or UCF-101's (--split).

    %(prog)s                   # which way a digit moves; scored and exported
    %(prog)s --recipe kinetics_ablation --data-dir ~/kinetics --num-gpus 1  # Sec. 3.2
    %(prog)s --data-dir ~/kinetics --pretrained resnet50.params             # and 3.4
    %(prog)s --split 1 --data-dir ~/ucf101 --pretrained a2_resnet50_3d.params
"""
from pathlib import Path
from typing import Any, Optional, Sequence

from ..cli import entry
from ..run.options import Options
from ..run.recipes import Recipe
from ..train import command


def train_network(recipe: Recipe, options: Options) -> str:
    """Train, and say how it ended and where results are; the embedded set is scored, too."""
    from ..train.loop import train
    from ..train.reading import save_contact_sheet
    folder, validation = train(recipe, options)
    prefix = folder / 'export' / recipe.title
    report = (f'{100 * validation.accuracy:.2f} % top-1 by one clip of each of {validation.images} '
              f'held-out videos; curve: {folder}/curve.png; network: {prefix}')
    if recipe.ranks > 1 or options.synthetic_data:
        return report
    save_contact_sheet(recipe, options, folder / 'clips.png')
    report += f'; what it saw: {folder}/clips.png'
    return report if options.data else f'{report}\n{demonstrate(prefix)}'


def demonstrate(prefix: Path) -> str:
    """Score the exported files on the embedded set, and name what happens in one of its videos."""
    from .. import data
    from ..deploy import Classifier
    net = Classifier(prefix)
    source = data.open_video_source(data.moving_digits_folder(), 'val')
    guesses = net.predict(source.name(0))[:3]
    scores: Any = net.score(source)
    return f'{scores.sentence()}\n{source.name(0)}: ' + ', '.join(
        f'{name} {100 * share:.2f} %' for name, share in guesses)


@entry
def main(argv: Optional[Sequence[str]] = None) -> None:
    command.run(command.parse(__doc__, argv, 3), train_network)
