"""Export a network as files that plain MXNet loads, and in other forms.

A checkpoint of a run, files exported before, a pair that plain MXNet or GluonCV exported without
metadata, or a network of the zoo with weights of a file:

    %(prog)s runs/digits --checkpoint best --out exported/a2_resnet26 --fold --onnx
    %(prog)s runs/digits/export/a2_resnet26 --out exported/a2_resnet26 --int8 --bf16
    %(prog)s a2_resnet50 --pretrained weights.params --class-names names.txt --onnx
    %(prog)s exported/a2_resnet50 --pretrained trained.safetensors --out exported/trained
    %(prog)s resnet50_v1b --out exported/resnet50_v1b --size 224 --pixels 1 \\
        --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --interpolation bilinear

The files are <prefix>-symbol.json, <prefix>-0000.params and <prefix>-meta.json, and beside them

    --onnx           <prefix>.onnx
    --torch          <prefix>.safetensors, a2_torch.py, which builds the network in PyTorch, and
                     <prefix>-torch.py, an example
    --bf16, --int8   the three files, with -bf16 or -int8 after the prefix
    --onnx --int8    <prefix>-int8.onnx, too

Each form is compared with MXNet in float32. What counts for --onnx, --torch and --fold are the
logits of photographs, for --bf16 and --int8 accuracy, agreement and speed on validation data.
"""
import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

from .. import known
from ..cli import entry, parser, show_table
from ..errors import UserError
from ..files import check_folder, write_csv
from ..flags import REQUIRED, check, option, parse

ZOO = 'a network of the zoo, by name'


@dataclass(frozen=True)
class Options:
    """What is exported, and where to."""
    network: str = option(REQUIRED, 'folder of a run, prefix of exported files, or name of the zoo',
                          positional=True)
    checkpoint: Optional[str] = option(None, "of a run: 'last' (by default), 'best' or a path")
    out: Optional[str] = option(None, 'prefix of the files; by default <run>/export/<network>',
                                metavar='PREFIX')
    class_names: Optional[str] = option(None, 'names of the classes, one a line, of a network of '
                                        "the zoo or without metadata; 'imagenet': the wnids of "
                                        'ImageNet-1k, sorted', metavar='FILE')
    csv: Optional[str] = option(None, 'also save the comparison of int8 and bf16', metavar='FILE')
    pretrained: Optional[str] = option(None, 'its weights, or others for exported files: what '
                                       'PyTorch trained', metavar='FILE', group=ZOO)
    untrained: bool = option(False, 'random weights, to try or to measure with', group=ZOO)
    input_size: Optional[int] = option(None, "side of its input, pixels; by default the paper's",
                                       low=1, group=ZOO)

    def __post_init__(self) -> None:
        check(self)
        if self.csv:
            check_folder(self.csv)


def load(options: Options, stated: Any) -> Tuple[Any, Optional[Path]]:
    """(`Bundle`, default prefix) of what the command line names."""
    from ..data import imagenet
    from ..data.classes import read_classes
    from ..deploy.bundle import is_bare
    from ..models.table import BASELINE_ROWS, ZOO, find_row
    from ..run import load as loading
    from ..run import network
    name, folder = options.network.lower(), Path(options.network)
    bare = is_bare(folder)
    if not bare and not folder.parent.name and not list(
            Path().glob(f'{glob.escape(options.network)}*')):
        find_row(name)  # neither files nor the name of a network: the error lists all names
    given = options.class_names
    names = None if given is None else list(
        imagenet.names() if given == 'imagenet' else read_classes(given))
    by_name = name in {**ZOO, **BASELINE_ROWS} or known.is_known(name)
    if bare or not by_name or folder.is_dir():
        for flag in ('untrained', 'input_size', *([] if bare else ['class_names'])):
            if getattr(options, flag):
                raise UserError(f'`{flag}` is for networks of the zoo, by name: {options.network} '
                                'is not the name of one')
        bundle = loading.load(options.network, options.checkpoint, stated)
        if names is not None:
            if len(names) != len(bundle.meta['classes']):
                raise UserError(f'{options.class_names} names {len(names)} classes, and the '
                                f'network gives {len(bundle.meta["classes"])} logits: name each')
            bundle = bundle._replace(meta={**bundle.meta, 'classes': names})
        if options.pretrained:
            bundle = network.with_weights(bundle, options.pretrained)
        return bundle, folder / 'export' / bundle.meta['network'] if folder.is_dir() else None
    if options.checkpoint:
        raise UserError(f'`checkpoint` is for runs: {options.network} is a network of the zoo')
    if bool(options.pretrained) == options.untrained:
        raise UserError(f'{options.network} is a network of the zoo: give its weights '
                        '(`pretrained`), or say `untrained`')
    for flag, value in vars(stated).items():
        if value is not None:
            raise UserError(f'`{flag}` is for files without metadata, and {options.network} is a '
                            'network of the zoo: leave it out')
    return network.from_zoo(name, options.pretrained, names, options.input_size), None


@entry
def main(argv: Optional[Sequence[str]] = None) -> None:
    flags = parser(__doc__)
    from ..deploy.bundle import bundle_prefix
    from ..deploy.export import Wanted, export
    from ..run.load import BARE, Stated
    options, wanted, stated = parse(flags, argv, Options, Wanted, (Stated, BARE))
    if options.csv and not wanted.measured:
        raise UserError('`csv` is for `int8` and `bf16`: add one, or leave it out')
    bundle, prefix = load(options, stated)
    prefix = options.out or prefix
    if prefix is None:
        raise UserError('`out` is missing: the prefix of the files to write, such as '
                        'exported/a2_resnet50')
    if str(prefix).endswith(('/', '.')) or Path(prefix).is_dir():
        raise UserError(f'`out` {prefix} is a folder: give the prefix of the files, such as '
                        f'{Path(prefix) / bundle.meta["network"]}')
    step = bundle.meta['training'].get('step')
    print(bundle.meta['network'] + ('' if step is None else f' after step {step}'))
    for said in export(bundle, bundle_prefix(prefix), wanted):
        show_table(said) if isinstance(said, list) else print(said)
        if options.csv and said[0][0] == 'form':
            write_csv(options.csv, said)
