#!/usr/bin/env python
"""Top-1 and top-5 accuracy of exported files, or of a run's checkpoint; every image counted once.

    python scripts/score.py runs/demo/export/a2_resnet26
    python scripts/score.py runs/demo --checkpoint best
    python scripts/score.py a2_resnet50 --data-dir ~/imagenet --size 320 --crop-ratio 1 --mean-max
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
    flags.add_argument('network', help='prefix of exported files, or the folder of a run')
    flags.add_argument('--checkpoint', help="of a run: 'last' (where not given), 'best' or the "
                                            "path of one")
    flags.add_argument('--data-dir', help='folder with val.rec or class folders in val, or a .rec '
                                          'file; the embedded digits where the network was trained '
                                          'on them')
    flags.add_argument('--split', default='val', help='which half of the data')
    flags.add_argument('--size', type=int, help='side of the crop; that of training where not '
                                                'given')
    flags.add_argument('--crop-ratio', type=float, help='side of the crop over the resized short '
                                                        'side')
    flags.add_argument('--mean-max', action='store_true', help='mean-max pooling, for crops larger '
                                                               'than in training')
    flags.add_argument('--batch-size', type=int, default=32, help='images at a time')
    flags.add_argument('--engine', help='of exported files: mxnet, mxnet-bf16, mxnet-int8 or '
                                        'onnxruntime')
    flags.add_argument('--num-gpus', type=int, default=0, choices=(0, 1), help='0 (CPU) or 1')
    flags.add_argument('-j', '--num-data-workers', type=int, default=2, help='processes that '
                                                                             'decode images')
    return flags.parse_args(argv)


@entry
def main(argv=None):
    """Parse, score, print."""
    args = arguments(argv)
    logging.basicConfig(format='%(message)s')
    from gluon_a2.run.load import classifier
    from gluon_a2.scoring.samples import open_samples
    net = classifier(args.network, args.checkpoint, args.engine, args.num_gpus, size=args.size,
                     crop_ratio=args.crop_ratio, mean_max=args.mean_max)
    if net.frames:
        raise UserError(f'{args.network} is a video network: score it with scripts/score_video.py')
    source = open_samples(net.meta, args.data_dir, args.split)
    sums = net.score(source, args.batch_size, args.num_data_workers)
    print(f'{100 * sums.accuracy:.2f} % top-1, {100 * sums.top5_accuracy:.2f} % top-5 on '
          f'{sums.images} images, '
          f'{net.size}×{net.size}{", mean-max pooling" if args.mean_max else ""}')


if __name__ == '__main__':
    main()
