#!/usr/bin/env python
"""Name what is in images or videos, from exported files alone.

    python scripts/predict.py --model runs/demo/export/a2_resnet26 docs/digit.png python
    scripts/predict.py --model exported/a2_resnet50.onnx photos/ 'more/**/*.jpg' --format json

Files, folders and patterns, in any mixture. Exit code 1: some could not be read; they are named,
and the others done.
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError


def arguments(argv):
    """The parsed command line."""
    flags = parser(__doc__)
    flags.add_argument('inputs', nargs='+', metavar='FILE|FOLDER|PATTERN',
                       help='images, or videos where the network is of video')
    flags.add_argument('--model', required=True, metavar='PREFIX', help='prefix of exported files, '
                                                                        'or an .onnx file')
    flags.add_argument('--engine', help='mxnet, mxnet-bf16, mxnet-int8 or onnxruntime; where not '
                                        'given, MXNet, or ONNX Runtime for an .onnx file')
    flags.add_argument('--top', type=int, default=5, help='classes to print for each file')
    flags.add_argument('--format', default='table', choices=('table', 'json'), help='json is a '
                                                                                    'list, an '
                                                                                    'object a file')
    flags.add_argument('--size', type=int, help='side of the crop; that of training where not '
                                                'given')
    flags.add_argument('--views', type=int, help="clips of each video; the network's own number "
                                                 "where not given")
    flags.add_argument('--crops', type=int, help='windows of each clip, likewise')
    flags.add_argument('--batch-size', type=int, default=32, help='images, or clips, at a time')
    flags.add_argument('-j', '--num-data-workers', type=int, default=2, help='threads that decode')
    return flags.parse_args(argv)


def show_json(predictions):
    """Print a list of {path, predictions} or {path, error}, an object a line, each as soon as it is
    known."""
    separator = '['
    for prediction in predictions:
        said = {'path': str(prediction.source)}
        if prediction.error:
            said['error'] = prediction.error
        else:
            said['predictions'] = [{'class': name, 'probability': share}
                                   for name, share in prediction.guesses]
        print(f'{separator}\n{json.dumps(said, ensure_ascii=False)}', end='', flush=True)
        separator = ','
    print('\n]')


def show_rows(predictions):
    """Print a table, a row for each file that could be read."""
    rows = [[
        str(prediction.source), *(f'{name} {100 * share:.2f} %'
                                  for name, share in prediction.guesses)
    ] for prediction in predictions if not prediction.error]
    if rows:
        show_table([['file', *(f'guess {i}' for i in range(1, len(rows[0])))], *rows])


@entry
def main(argv=None):
    """Print the most probable classes of each file; exit code 1 if any could not be read."""
    args = arguments(argv)
    if args.num_data_workers < 1:
        raise UserError(f'--num-data-workers must be 1 or more, not {args.num_data_workers}')
    from tqdm import tqdm

    from gluon_a2.deploy import Classifier
    from gluon_a2.deploy.inputs import expand
    net = Classifier(args.model, args.size, views=args.views, crops=args.crops, engine=args.engine)
    paths, failed = expand(args.inputs, bool(net.frames)), []
    with tqdm(net.stream(paths, args.top, args.batch_size, args.num_data_workers), total=len(paths),
              unit='file', leave=False, disable=None) as predictions:
        def watched():
            for prediction in predictions:
                if prediction.error:
                    failed.append(prediction.source)
                    tqdm.write(f'error: {prediction.error}', file=sys.stderr)
                yield prediction
        (show_json if args.format == 'json' else show_rows)(watched())
    if failed:
        print(f'{len(failed)} of {len(paths)} could not be read', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
