#!/usr/bin/env python
"""Our networks beside those of the GluonCV zoo: cost, speed and memory, measured in one run, and
published accuracies.

    python scripts/compare_zoo.py                                # all 20, images then video
    python scripts/compare_zoo.py --image --rounds 5
    python scripts/compare_zoo.py --networks resnet50 a2_resnet50 resnet50_v1b --input-size 320

Each network is a process of its own, and all have their turn in every round. Nothing is downloaded,
and accuracies are those that others published, in columns of their own. Writes compare_zoo.csv,
compare_zoo.md and compare_zoo.png.

    python scripts/compare_zoo.py --networks a2_resnet50 resnet50_v1b --pretrained --data-dir
    ~/imagenet \\
        --params a2_resnet50=a2_resnet50-0000.params

also scores files of weights on the validation images of ImageNet: those that are named, and those
of GluonCV in its cache (~/.mxnet/models; --download fetches what is not there).
"""
import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError


def named_file(text):
    """('a2_resnet50', 'x.params') from 'a2_resnet50=x.params'."""
    name, _, path = text.partition('=')
    if not name or not path:
        raise argparse.ArgumentTypeError(f'give NETWORK=FILE, not {text!r}')
    return name.lower(), path


def arguments(argv):
    """The parsed command line."""
    flags = parser(__doc__)
    which = flags.add_mutually_exclusive_group()
    which.add_argument('--networks', nargs='+', metavar='NAME', help='these alone')
    which.add_argument('--image', action='store_true', help='the image networks alone')
    which.add_argument('--video', action='store_true', help='the video networks alone')
    flags.add_argument('--rounds', type=int, default=3, help='turns of each network')
    flags.add_argument('--batch-size', type=int, default=8, help='images at a time, for throughput '
                                                                 '(clips: 1)')
    flags.add_argument('--train-batch-size', type=int, default=4, help='images of a training step')
    flags.add_argument('--input-size', type=int, help='side of the images; 224 where not given')
    flags.add_argument('--out', default='runs/compare', metavar='DIR', help='where the three files '
                                                                            'go')
    scoring = flags.add_argument_group('scoring')
    scoring.add_argument('--pretrained', action='store_true', help='score files of weights as well')
    scoring.add_argument('--params', type=named_file, action='append', default=[],
                         metavar='NAME=FILE',
                         help='weights of one network; may be given several times')
    scoring.add_argument('--download', action='store_true', help='let GluonCV fetch what its cache '
                                                                 'lacks')
    scoring.add_argument('--data-dir', help='folder with val.rec or class folders in val, or a '
                                            '.rec file')
    scoring.add_argument('-j', '--num-data-workers', type=int, default=2, help='processes that '
                                                                               'decode images')
    args = flags.parse_args(argv)
    if not args.pretrained and (args.params or args.download or args.data_dir):
        raise UserError('--params, --download and --data-dir are for scoring: add --pretrained')
    if args.pretrained and not args.data_dir:
        raise UserError('--data-dir is missing: --pretrained scores on the validation images of '
                        'ImageNet')
    return args


def scores(args, networks):
    """{network: `Sums`} of those with weights; none without --pretrained."""
    if not args.pretrained:
        return {}
    from gluon_a2.compare.score import score
    from gluon_a2.compare.weights import find_weights
    weights = find_weights(networks, dict(args.params), args.download)
    return score(weights, args.data_dir, workers=args.num_data_workers)


@entry
def main(argv=None):
    """Choose, score, measure, write."""
    args = arguments(argv)
    from gluon_a2.compare import networks, report, rounds
    names = args.networks or (*(() if args.video else networks.IMAGE),
                              *(() if args.image else networks.VIDEO))
    chosen = networks.choose(names, args.input_size)
    plan = rounds.Plan(args.rounds, args.batch_size, args.train_batch_size)
    plan.check()
    Path(args.out).mkdir(parents=True, exist_ok=True)  # not found out after all was measured
    scored = scores(args, chosen)
    load = rounds.busy()
    if load > 0.1:
        print(f'warning: {load:.0%} of this machine is at something else: networks of many small '
              'operators will seem far slower than they are', file=sys.stderr)
    rows = rounds.table(rounds.measure(chosen, plan), plan)
    if args.pretrained:
        from gluon_a2.compare.score import columns
        rows = [{**row, **columns(scored.get(network))} for network, row in zip(chosen, rows)]
    command = shlex.join([
        'python', 'scripts/compare_zoo.py', *(sys.argv[1:] if argv is None else argv)
    ])
    paths = report.write_report(rows, command, args.out, load)
    show_table([report.SHOWN, *report.shown(rows)])
    print(f'written: {", ".join(map(str, paths))}')


if __name__ == '__main__':
    main()
