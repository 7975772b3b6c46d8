#!/usr/bin/env python
"""Export a network as symbol, params and metadata, which plain MXNet loads, and in the forms that
are asked for.

A checkpoint of a run, files exported before, or a network of the zoo, with weights of a file:

    python scripts/export.py runs/demo --checkpoint best --out exported/a2_resnet26 --fold --onnx
    python scripts/export.py runs/demo/export/a2_resnet26 --out exported/a2_resnet26 --int8 --bf16
    python scripts/export.py a2_resnet50 --pretrained weights.params --class-names names.txt --onnx

--onnx writes <prefix>.onnx beside them, --bf16 and --int8 the same three files with -bf16 and -int8
after the prefix. Each form is compared with MXNet in float32: --onnx and --fold by the logits of
photographs, --bf16 and --int8 by accuracy, agreement and speed on validation data.
"""
import glob
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError
from gluon_a2.files import check_folder, write_csv


def arguments(argv):
    """The parsed command line."""
    flags = parser(__doc__)
    flags.add_argument('network', help='folder of a run, prefix of exported files, or name of the '
                                       'zoo')
    flags.add_argument('--checkpoint', help="of a run: 'last' (where not given), 'best' or the "
                                            "path of one")
    flags.add_argument('--pretrained', metavar='FILE', help='weights of a network of the zoo')
    flags.add_argument('--untrained', action='store_true', help='random weights, to try or to '
                                                                'measure with')
    flags.add_argument('--class-names', metavar='FILE', help='names of the classes of a network of '
                                                             'the zoo, one a line')
    flags.add_argument('--input-size', type=int, help="side of its input; the paper's where not "
                                                      "given")
    flags.add_argument('--out', metavar='PREFIX', help='prefix of the files; '
                                                       '<run>/export/<network> where not given')
    flags.add_argument('--onnx', action='store_true', help='also as ONNX')
    flags.add_argument('--fold', action='store_true', help='fold BatchNorms into convolutions '
                                                           'where that is exact')
    flags.add_argument('--bf16', action='store_true', help='also in bfloat16, for CPUs that '
                                                           'compute in it')
    flags.add_argument('--int8', action='store_true', help='also in INT8, for CPUs')
    flags.add_argument('--calibration', choices=('min-max', 'entropy'), help='of the ranges of '
                                                                             'INT8; min-max where '
                                                                             'not given')
    flags.add_argument('--calibration-samples', type=int, help='training images or videos they are '
                                                               'taken from; 256 where not given')
    flags.add_argument('--data-dir', help='folder with the training and validation data that '
                                          '--int8 and --bf16 need; the embedded set where the '
                                          'network was trained on it')
    flags.add_argument('--csv', metavar='FILE', help='also save the comparison of --int8 and '
                                                     '--bf16')
    flags.add_argument('--batch-size', type=int, default=32, help='of the comparison')
    flags.add_argument('-j', '--num-data-workers', type=int, default=2, help='processes that '
                                                                             'decode')
    return flags.parse_args(argv)


def check(args):
    """UserError for numbers that cannot be, and for flags that would do nothing."""
    for flag, least in (('calibration_samples', 1), ('batch_size', 1), ('num_data_workers', 0)):
        value = getattr(args, flag)
        if value is not None and value < least:
            raise UserError(f'--{flag.replace("_", "-")} must be {least} or more, not {value}')
    for flags, needed in ((('calibration', 'calibration_samples'), ['int8']), (('data_dir', 'csv'),
                                                                               ['int8', 'bf16'])):
        for flag in flags:
            if getattr(args, flag) is not None and not any(getattr(args, form) for form in needed):
                raise UserError(f'--{flag.replace("_", "-")} is for '
                                f'{" and ".join(f"--{form}" for form in needed)}: add one, or '
                                'leave it out')


def load(args):
    """(`Bundle`, default prefix) of what the command line names."""
    from gluon_a2.models.table import BASELINE_ROWS, ZOO, find_row
    from gluon_a2.run import load as opening
    from gluon_a2.run import network
    name = args.network.lower()
    if not Path(args.network).parent.name and not list(
            Path().glob(f'{glob.escape(args.network)}*')):
        find_row(name)  # neither files nor the name of a network: all names are told
    if name not in {**ZOO, **BASELINE_ROWS} or Path(args.network).is_dir():
        for flag in ('pretrained', 'untrained', 'class_names', 'input_size'):
            if getattr(args, flag):
                raise UserError(f'--{flag.replace("_", "-")} is for networks of the zoo, by name: '
                                f'{args.network} is not the name of one')
        bundle = opening.load(args.network, args.checkpoint)
        return bundle, Path(args.network) / 'export' / bundle.meta['network'] if Path(
            args.network).is_dir() else None
    if args.checkpoint:
        raise UserError(f'--checkpoint is for runs: {args.network} is a network of the zoo')
    if bool(args.pretrained) == args.untrained:
        raise UserError(f'{args.network} is a network of the zoo: give its weights (--pretrained '
                        'FILE), or say --untrained')
    return network.from_zoo(name, args.pretrained, class_names(args.class_names),
                            args.input_size), None


def class_names(path):
    """The lines of a file, or None."""
    if path is None:
        return None
    try:
        names = Path(path).read_text(encoding='utf-8').splitlines()
    except ValueError as error:
        raise UserError(f'{path} is not text in UTF-8: give one class name a line') from error
    if not names or not all(map(str.strip, names)):
        raise UserError(f'{path} must hold one class name a line, and no empty line')
    return names


@entry
def main(argv=None):
    """Parse, export, say what came of it."""
    args = arguments(argv)
    check(args)
    if args.csv:
        check_folder(args.csv)
    from gluon_a2.deploy.bundle import bundle_prefix
    from gluon_a2.deploy.export import Wanted, export
    bundle, prefix = load(args)
    prefix = args.out or prefix
    if prefix is None:
        raise UserError('--out is missing: the prefix of the files to write, such as '
                        'exported/a2_resnet50')
    if str(prefix).endswith(('/', '.')) or Path(prefix).is_dir():
        raise UserError(f'--out {prefix} is a folder: give the prefix of the files, such as '
                        f'{Path(prefix) / bundle.meta["network"]}')
    prefix = bundle_prefix(prefix)
    wanted = Wanted(args.fold, args.onnx, args.bf16, args.int8, args.calibration or 'min-max',
                    256 if args.calibration_samples is None else args.calibration_samples,
                    args.data_dir, args.batch_size, args.num_data_workers)
    step = bundle.meta['training'].get('step')
    print(bundle.meta['network'] + ('' if step is None else f' after step {step}'))
    for told in export(bundle, prefix, wanted):
        show_table(told) if isinstance(told, list) else print(told)
        if args.csv and told[0][0] == 'form':
            write_csv(args.csv, told)


if __name__ == '__main__':
    main()
