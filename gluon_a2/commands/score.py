"""Measure the accuracy of exported files, or of a run's checkpoint.

    %(prog)s runs/demo/export/a2_resnet26
    %(prog)s runs/demo --checkpoint best
    %(prog)s a2_resnet50 --data-dir ~/imagenet --size 320 --crop-ratio 1 --mean-max
    %(prog)s runs/kinetics --data-dir ~/kinetics --views 10 --crops 3 --out scores
    %(prog)s runs/split1 runs/split2 runs/split3 --data-dir ~/ucf101   # and average

Every image or video counts once. An image is right where its class has the highest score; a video
where its softmax, averaged over the views, says so. A tie is wrong.
"""
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

from ..cli import entry, parser
from ..errors import UserError
from ..flags import REQUIRED, add_flags, check, from_args, option

VIDEO = 'video'


@dataclass(frozen=True)
class Options:
    """What is scored, on what, and how."""
    networks: Tuple[str, ...] = option(REQUIRED, 'prefix of exported files, or folder of a run',
                                       positional=True, metavar='NETWORK')
    checkpoint: Optional[str] = option(None, "of a run: 'last' (by default), 'best' or a path")
    data_dir: Optional[str] = option(
        None, 'folder with a .rec file or class folders of each part, a .rec file, or the folder '
        'of UCF-101; by default the embedded set it was trained on')
    part: str = option('val', 'part of the data, such as val or train')
    mean_max: bool = option(False, 'mean-max pooling, for crops larger than in training')
    batch_size: Optional[int] = option(None, 'samples at a time; by default 32 images or 8 views',
                                       low=1)
    engine: Optional[str] = option(None, 'of exported files: mxnet, mxnet-bf16, mxnet-int8 or '
                                   'onnxruntime')
    num_gpus: int = option(0, '0 (CPU) or 1', choices=(0, 1))
    num_data_workers: int = option(2, 'processes that decode', low=0, short='-j')
    views: Optional[int] = option(None, "clips of each video; by default the network's own number",
                                  low=1, group=VIDEO)
    crops: Optional[int] = option(None, 'windows of each clip along its long side, likewise', low=1,
                                  group=VIDEO)
    list: Optional[str] = option(None, 'list of the videos, whose paths start at the data folder',
                                 metavar='FILE', group=VIDEO)
    list_format: Optional[str] = option(None, 'path-label, path-frames-label, id-label-path, or '
                                        'kinetics-csv', metavar='FORM', group=VIDEO)
    split: Optional[str] = option(None, 'of UCF-101, 1, 2 or 3; by default the one trained on',
                                  group=VIDEO)
    splits: Optional[str] = option(None, 'folder of the split files of UCF-101', metavar='DIR',
                                   group=VIDEO)
    out: Optional[str] = option(None, 'also save per_class.csv, confusion.csv and confusion.png',
                                metavar='DIR', group=VIDEO)

    def __post_init__(self) -> None:
        check(self)
        if self.split not in (None, '1', '2', '3'):
            raise UserError(f'`split` is 1, 2 or 3, of UCF-101, not {self.split}: the part of the '
                            'data is `part`')


def score(name: str, options: Options, stated: Any) -> Tuple[Any, int]:
    """The scores of one network, their sentence printed, and saved where `out` says; also its
    number of classes."""
    from ..run.load import classifier
    from ..scoring.metrics import top5_text
    from ..scoring.samples import open_samples
    net = classifier(name, options.checkpoint, stated, options.engine, options.num_gpus,
                     mean_max=options.mean_max, views=options.views, crops=options.crops)
    if options.out and not net.frames:
        raise UserError(f'`out` is for videos: leave it out for {name}, an image network')
    split = None if options.split is None else int(options.split)
    source = open_samples(net.meta, options.data_dir, options.part, split, options.splits,
                          options.list, options.list_format)
    batch_size = options.batch_size or (8 if net.frames else 32)
    scores: Any = net.score(source, batch_size, options.num_data_workers)
    label = f'{name}: ' if net.frames or len(options.networks) > 1 else ''
    if net.frames:
        text = f'{scores.sentence()}, clips of {net.frames}×{net.size}×{net.size}'
        text += f', split {source.split}' if source.split else ''
    else:
        text = (f'{100 * scores.accuracy:.2f} % top-1, '
                f'{top5_text(scores.top5_accuracy, len(net.classes))} on {scores.images} images, '
                f'{net.size}×{net.size}{", mean-max pooling" if options.mean_max else ""}')
    print(label + text)
    if options.out:
        from ..visualization.plots import save_confusion
        several = len(options.networks) > 1
        folder = Path(options.out, Path(name).name) if several else Path(options.out)
        save_confusion(scores, net.classes, folder)
        print(f'per class: {folder}/per_class.csv; confusion: {folder}/confusion.csv and .png')
    return scores, len(net.classes)


def average(scored: Sequence[Tuple[Any, int]]) -> str:
    """The sentence of the average of several networks' scores."""
    from ..scoring.metrics import top5_text
    scores, classes = zip(*scored)
    if len({type(one) for one in scores}) > 1:
        return 'no average: some networks are of images and some of video'

    def mean(name):
        return sum(getattr(one, name) for one in scores) / len(scores)

    clip = f'clip {100 * mean("clip_accuracy"):.2f} % top-1; video ' if hasattr(
        scores[0], 'clip_accuracy') else ''
    return (f'average of {len(scores)}: {clip}{100 * mean("accuracy"):.2f} % top-1, '
            f'{top5_text(mean("top5_accuracy"), min(classes))}')


@entry
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Parse, score each network, print the average of several."""
    flags = parser(__doc__)
    from ..run.load import Stated
    add_flags(flags, Options)
    add_flags(flags, Stated, title='crop')
    args = flags.parse_args(argv)
    options, stated = from_args(Options, args), from_args(Stated, args)
    logging.basicConfig(format='%(message)s')
    scored = [score(name, options, stated) for name in options.networks]
    if len(scored) > 1:
        print(average(scored))
