"""Measure the accuracy of exported files, or of a run's checkpoint.

    %(prog)s runs/digits/export/a2_resnet26 --out scores
    %(prog)s runs/digits --checkpoint best
    %(prog)s a2_resnet50 --data-dir ~/imagenet --size 320 --crop-ratio 1 --mean-max
    %(prog)s runs/kinetics --data-dir ~/kinetics --views 10 --crops 3 --out scores
    %(prog)s runs/kinetics --data-dir ~/kinetics --views 30 --protocol mfnet
    %(prog)s runs/split1 runs/split2 runs/split3 --data-dir ~/ucf101   # and average
    %(prog)s runs/*/export/*.onnx --data-dir ~/photos --results results.csv

Every image or video counts once. An image is right where its class has the highest score; a video
where its softmax, averaged over the views, says so. A tie is wrong.
"""
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from ..cli import entry, parser, with_flags
from ..engines import ENGINES
from ..errors import UserError
from ..files import check_folder, write_csv
from ..flags import REQUIRED, check, option, parse

VIDEO, REPORT = 'video', 'files'
COLUMNS = ('model', 'network', 'engine', 'data', 'part', 'samples', 'top1', 'top5', 'clip_top1',
           'views', 'protocol', 'error')  # of the table of several networks


@dataclass(frozen=True)
class Options:
    """What is scored, on what, and how."""
    networks: Tuple[str, ...] = option(REQUIRED, 'prefix of exported files, or folder of a run',
                                       positional=True, metavar='NETWORK')
    checkpoint: Optional[str] = option(None, "of a run: 'last' (by default), 'best' or a path")
    data_dir: Optional[str] = option(
        None, 'a .rec file, a folder with records or class folders of each part, or the folder of '
        'UCF-101; default: the embedded set it was trained on')
    part: str = option('val', 'part of the data, such as val or train')
    mean_max: bool = option(False, 'mean-max pooling, for crops larger than in training')
    batch_size: Optional[int] = option(None, 'samples at a time; by default 32 images or 8 views',
                                       low=1)
    engine: Optional[str] = option(None, 'of exported files; by default the fastest exact one',
                                   choices=ENGINES)
    num_gpus: int = option(0, '0 (CPU) or 1', choices=(0, 1))
    num_data_workers: int = option(2, 'processes that decode', low=0, short='-j')
    views: Optional[int] = option(None, "clips of each video; by default the network's own number",
                                  low=1, group=VIDEO)
    crops: Optional[int] = option(None, 'windows of each clip along its long side, likewise', low=1,
                                  group=VIDEO)
    protocol: Optional[str] = option(
        None, "spread evenly, by default; or PyTorch-MFNet's, at random, of frames stretched to a "
        'square', choices=('even', 'mfnet'), group=VIDEO)
    list: Optional[str] = option(None, 'list of the videos, whose paths start at the data folder',
                                 metavar='FILE', group=VIDEO)
    list_format: Optional[str] = option(None, 'path-label, path-frames-label, id-label-path, or '
                                        'kinetics-csv', metavar='FORM', group=VIDEO)
    split: Optional[str] = option(None, 'of UCF-101, 1, 2 or 3; by default the one trained on',
                                  group=VIDEO)
    splits: Optional[str] = option(None, 'folder of the split files of UCF-101', metavar='DIR',
                                   group=VIDEO)
    out: Optional[str] = option(
        None, 'save what is said of each sample, accuracies and confusion of the classes, and a '
        'picture of the surest mistakes', metavar='DIR', group=REPORT)
    top: Optional[int] = option(None, 'guesses named for each sample; by default 5', low=1,
                                needs=['out'], group=REPORT)
    worst: Optional[int] = option(None, 'mistakes drawn, at most; by default 20', low=1, high=200,
                                  needs=['out'], group=REPORT)
    logits: bool = option(False, 'also save logits.npy; features.npy, what enters the classifier',
                          needs=['out'], group=REPORT)
    features: bool = option(False, None, needs=['out'], group=REPORT)
    results: Optional[str] = option(
        None, 'a row for each network; one that fails has the reason in its row, and the others '
        'are scored', metavar='FILE.csv', group=REPORT)

    def __post_init__(self) -> None:
        check(self)
        if self.split not in (None, '1', '2', '3'):
            raise UserError(f'`split` is 1, 2 or 3, of UCF-101, not {self.split}: the part of the '
                            'data is `part`')


def score(name: str, options: Options, stated: Any, folder: Optional[Path]) -> Tuple[Any, Any]:
    """(scores, `Classifier`) of one network, their sentence printed, and saved in `folder`."""
    from ..run.load import classifier
    from ..scoring.metrics import Answers, top5_text
    from ..scoring.samples import open_samples
    net = classifier(name, options.checkpoint, stated, options.engine, options.num_gpus,
                     mean_max=options.mean_max, views=options.views, crops=options.crops,
                     features=options.features, protocol=options.protocol)
    split = None if options.split is None else int(options.split)
    source = open_samples(net.meta, options.data_dir, options.part, split, options.splits,
                          options.list, options.list_format)
    answers: Any = None
    if folder:
        from ..visualization.report import make_folder, save_report
        make_folder(folder)  # not found out after all was scored
        answers = Answers(source.labels, len(net.classes), options.top or 5,
                          [kind for kind in ('logits', 'features') if getattr(options, kind)])
    batch_size = options.batch_size or (8 if net.frames else 32)
    scores: Any = net.score(source, batch_size, options.num_data_workers, answers)
    label = f'{name}: ' if net.frames or len(options.networks) > 1 else ''
    if net.frames:
        text = f'{scores.sentence()}, clips of {net.frames}×{net.size}×{net.size}'
        text += f', split {source.split}' if source.split else ''
        text += f', protocol {net.protocol}'
    else:
        text = (f'{100 * scores.accuracy:.2f} % top-1, '
                f'{top5_text(scores.top5_accuracy, len(net.classes))} on {scores.images} images, '
                f'{net.size}×{net.size}{", mean-max pooling" if options.mean_max else ""}')
    text += f', by {net.engine}'
    print(label + text)
    if folder:
        print(save_report(answers, net, source, folder, options.worst or 20))
    return scores, net


def folders(options: Options) -> List[Optional[Path]]:
    """Where the files of each network go: `out`, or of several networks a folder in it for each,
    by its name, and its number where several have the name."""
    if options.out is None:
        return [None] * len(options.networks)
    if len(options.networks) == 1:
        return [Path(options.out)]
    names = [Path(name).resolve().name for name in options.networks]
    return [Path(options.out, name if names.count(name) == 1 else f'{name}-{i + 1}')
            for i, name in enumerate(names)]


def row(name: str, options: Options, scored: Optional[Tuple[Any, Any]], error: str = '') -> tuple:
    """The values of `COLUMNS` for one network."""
    from ..scoring.metrics import TOP5_CLASSES
    if scored is None:
        return (name, '', options.engine or '', options.data_dir or options.list or '',
                options.part, '', '', '', '', '', '', error)
    scores, net = scored
    clip, top5 = getattr(scores, 'clip_accuracy', None), scores.top5_accuracy
    return (name, net.meta['network'], net.engine,
            options.data_dir or options.list or net.meta['training']['data'], options.part,
            scores.videos if net.frames else scores.images, f'{scores.accuracy:.6f}',
            f'{top5:.6f}' if len(net.classes) >= TOP5_CLASSES else '',
            *(('', '', '') if clip is None else (f'{clip:.6f}', scores.views, net.protocol)), '')


def average(scored: Sequence[Tuple[Any, Any]]) -> str:
    """The sentence of the average of several networks' scores."""
    from ..scoring.metrics import top5_text
    scores, nets = zip(*scored)
    if len({type(one) for one in scores}) > 1:
        return 'no average: some networks are of images and some of video'

    def mean(name):
        return sum(getattr(one, name) for one in scores) / len(scores)

    clip = f'clip {100 * mean("clip_accuracy"):.2f} % top-1; video ' if hasattr(
        scores[0], 'clip_accuracy') else ''
    return (f'average of {len(scores)}: {clip}{100 * mean("accuracy"):.2f} % top-1, '
            f'{top5_text(mean("top5_accuracy"), min(len(net.classes) for net in nets))}')


@entry
def main(argv: Optional[Sequence[str]] = None) -> int:
    """Score each network, and print the average; 1 where one could not be scored."""
    flags = parser(__doc__)
    from ..run.load import Stated
    options, stated = parse(flags, argv, Options, (Stated, 'crop'))
    logging.basicConfig(format='%(message)s')
    if options.results:
        check_folder(options.results)
    scored, rows = [], []
    for name, folder in zip(options.networks, folders(options)):
        try:
            scored.append(score(name, options, stated, folder))
            rows.append(row(name, options, scored[-1]))
        except UserError as error:
            if not options.results:
                raise
            sentence = with_flags(str(error))
            rows.append(row(name, options, None, sentence))
            print(f'error: {name}: {sentence}', file=sys.stderr)
        if options.results:  # after each, so that a long list that is cut keeps its rows
            write_csv(options.results, [COLUMNS, *rows])
    if len(scored) > 1:
        print(average(scored))
    return 1 if len(scored) < len(options.networks) else 0
