#!/usr/bin/env python
"""Count parameters and multiply-adds.

With no arguments: every #Params, FLOPs and ΔFLOPs figure of the paper, beside what is counted here.

    python scripts/count_cost.py

With names: any network of the zoo, or any symbol file, in total or layer by layer.

    python scripts/count_cost.py a2_resnet50 resnet152
    python scripts/count_cost.py runs/demo/export/a2_resnet26-symbol.json --input-size 32 --layers
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError
from gluon_a2.files import check_folder, write_csv


def sizes(text):
    """224 from '224'; (h, w) from '224,320'; (d, h, w) from '8,224,224'."""
    try:
        numbers = tuple(int(number) for number in text.split(','))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'give S, H,W or D,H,W in whole numbers, not {text!r}') from error
    return numbers if len(numbers) > 1 else numbers[0]


def paper_rows():
    """The table of the paper's figures."""
    from gluon_a2.paper.compare import compare_baselines, compare_claims, compare_figures

    def row(figure):
        shown = [figure.where, figure.network, figure.quantity, figure.show(figure.printed)]
        if figure.counted is None or figure.printed is None:
            return [*shown, figure.show(figure.counted), '–', '–', figure.note]
        return [
            *shown,
            figure.show(figure.counted), f'{round(100 * figure.difference, 2) + 0.0:+.2f} '
            '%', 'yes' if figure.agrees else 'no', figure.note
        ]

    yield ['where', 'network', 'quantity', 'paper', 'counted', 'difference', 'agrees', 'note']
    for figures in (compare_figures(), compare_claims(), compare_baselines()):
        yield from map(row, figures)


def network_rows(args):
    """The table of the networks named."""
    from gluon_a2.paper.compare import network_cost
    layer_columns = ['layer', 'operator', 'output'] if args.layers else []
    yield ['network', *layer_columns, 'trained', 'statistics', 'parameters', 'multiply-adds']
    for source in args.networks:
        cost = network_cost(source, args.input_size, args.classes)
        for layer in cost.layers if args.layers else ():
            yield [source, layer.name, layer.op, '×'.join(map(str, layer.output)), layer.parameters,
                   layer.statistics, layer.parameters + layer.statistics, layer.flops]
        total = ['total', '', ''] if args.layers else []
        yield [
            source, *total, cost.trained, cost.parameters - cost.trained, cost.parameters,
            cost.flops
        ]


@entry
def main(argv=None):
    """Parse, count, print, save."""
    flags = parser(__doc__)
    flags.add_argument('networks', nargs='*', metavar='NETWORK', help='name of the zoo, or a '
                                                                      'symbol.json file')
    flags.add_argument('--input-size', type=sizes, metavar='S|H,W|D,H,W', help="the network's own "
                                                                               "where not given")
    flags.add_argument('--classes', type=int, help="of zoo networks; the data set's of the paper "
                                                   "where not given")
    flags.add_argument('--layers', action='store_true', help='a row for each layer')
    flags.add_argument('--csv', metavar='FILE', help='also save the table')
    args = flags.parse_args(argv)
    if not args.networks and (args.input_size is not None or args.classes is not None
                              or args.layers):
        raise UserError('--input-size, --classes and --layers need a NETWORK: the table of the '
                        'paper has its own')
    if args.csv:
        check_folder(args.csv)
    rows = list(network_rows(args) if args.networks else paper_rows())
    show_table(rows)
    if args.csv:
        write_csv(args.csv, rows)


if __name__ == '__main__':
    main()
