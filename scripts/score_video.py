#!/usr/bin/env python
"""Clip and video accuracy of exported files, or of a run's checkpoint; every video counted once.

    python scripts/score_video.py runs/video/export/a2_resnet26_3d python scripts/score_video.py
    runs/kinetics --checkpoint best --data-dir ~/kinetics --views 10 --crops 3 python
    scripts/score_video.py runs/split1 runs/split2 runs/split3 --data-dir ~/ucf101     # and their
    average

A clip is right where its own first guess is; a video where the softmax averaged over its views says
so.
"""
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError


def arguments(argv):
    """The parsed command line."""
    flags = parser(__doc__)
    flags.add_argument('networks', nargs='+', metavar='NETWORK', help='prefix of exported files, '
                                                                      'or folder of a run')
    flags.add_argument('--checkpoint', help="of a run: 'last' (where not given), 'best' or the "
                                            "path of one")
    flags.add_argument('--data-dir', help='folder with class folders in val, or the folder of '
                                          'UCF-101, or where the paths of --list start; the '
                                          'embedded videos where the network was trained on them')
    flags.add_argument('--part', default='val', help='which part of the data: val, train or test')
    flags.add_argument('--list', metavar='FILE', help='list of the videos')
    flags.add_argument('--list-format', metavar='FORM', help='path-label, path-frames-label, '
                                                             'id-label-path, or kinetics-csv, the '
                                                             'official CSV')
    flags.add_argument('--split', type=int, choices=(1, 2, 3), help='of UCF-101; the one trained '
                                                                    'on where not given')
    flags.add_argument('--splits', metavar='DIR', help='folder of the UCF-101 split files')
    flags.add_argument('--views', type=int, help="clips of each video; the network's own number "
                                                 "where not given")
    flags.add_argument('--crops', type=int, help='windows of each clip along its long side, '
                                                 'likewise')
    flags.add_argument('--size', type=int, help='side of the crop; that of training where not '
                                                'given')
    flags.add_argument('--crop-ratio', type=float, help='side of the crop over the resized short '
                                                        'side')
    flags.add_argument('--batch-size', type=int, default=8, help='views at a time')
    flags.add_argument('--engine', help='of exported files: mxnet, mxnet-bf16, mxnet-int8 or '
                                        'onnxruntime')
    flags.add_argument('--num-gpus', type=int, default=0, choices=(0, 1), help='0 (CPU) or 1')
    flags.add_argument('-j', '--num-data-workers', type=int, default=2, help='processes that '
                                                                             'decode videos')
    flags.add_argument('--out', metavar='DIR', help='also save per_class.csv, confusion.csv and '
                                                    'confusion.png there')
    return flags.parse_args(argv)


def score(name, args):
    """The `VideoScores` of one network; printed, and saved where --out says."""
    from gluon_a2.run.load import classifier
    from gluon_a2.scoring.samples import open_samples
    net = classifier(name, args.checkpoint, args.engine, args.num_gpus, size=args.size,
                     crop_ratio=args.crop_ratio, views=args.views, crops=args.crops)
    if not net.frames:
        raise UserError(f'{name} is an image network: score it with scripts/score.py')
    source = open_samples(net.meta, args.data_dir, args.part, args.split, args.splits, args.list,
                          args.list_format)
    scores = net.score(source, args.batch_size, args.num_data_workers)
    split = f', split {source.split}' if source.split else ''
    print(f'{name}: {scores.sentence()}, clips of {net.frames}×{net.size}×{net.size}{split}')
    if args.out:
        from gluon_a2.visualization.plots import save_confusion
        folder = Path(args.out, Path(name).name) if len(args.networks) > 1 else Path(args.out)
        save_confusion(scores, net.classes, folder)
        print(f'per class: {folder}/per_class.csv; confusion: {folder}/confusion.csv and .png')
    return scores


@entry
def main(argv=None):
    """Parse, score each network, print the average of several."""
    args = arguments(argv)
    logging.basicConfig(format='%(message)s')
    scores = [score(name, args) for name in args.networks]
    if len(scores) > 1:
        clip, top1, top5 = (100 * sum(getattr(s, name) for s in scores) / len(scores)
                            for name in ('clip_accuracy', 'accuracy', 'top5_accuracy'))
        print(f'average of {len(scores)}: clip {clip:.2f} % top-1; video {top1:.2f} % top-1, '
              f'{top5:.2f} % top-5')


if __name__ == '__main__':
    main()
