"""Count parameters and multiply-adds.

With no arguments: every #Params, FLOPs and ΔFLOPs figure of the paper, beside what is counted here.

    %(prog)s

With names: any network of the zoo, or any symbol file, in total or layer by layer.

    %(prog)s a2_resnet50 resnet152
    %(prog)s runs/digits/export/a2_resnet26-symbol.json --input-size 32 --layers
"""
import dataclasses
from typing import Any, Iterator, Optional, Sequence, Tuple

from .. import cli
from ..errors import UserError
from ..files import check_folder, write_csv
from ..flags import check, option, parse


@dataclasses.dataclass(frozen=True)
class Options:
    """What is counted, and how it is shown."""

    networks: Tuple[str, ...] = option((), 'name of the zoo, or a symbol.json file',
                                       positional=True, metavar='NETWORK')
    input_size: Optional[Tuple[int, ...]] = option(
        None, "side, or height,width, or frames,height,width; by default the network's own",
        metavar='S|H,W|D,H,W', low=1)
    classes: Optional[int] = option(None, "of zoo networks; by default the paper's data set's",
                                    low=1)
    layers: bool = option(False, 'a row for each layer')
    csv: Optional[str] = option(None, 'also save the table', metavar='FILE')

    def __post_init__(self) -> None:
        check(self)
        if self.csv:
            check_folder(self.csv)
        if self.input_size is not None and not 1 <= len(self.input_size) <= 3:
            raise UserError('`input_size` must be S, H,W or D,H,W')
        for name in ('input_size', 'classes', 'layers'):
            if getattr(self, name) and not self.networks:
                raise UserError(f'`{name}` needs a NETWORK: the table of the paper has its own')


def network_rows(asked: Options) -> Iterator[list]:
    """The table of the networks named."""
    from ..paper.compare import network_cost
    layer_columns = ['layer', 'operator', 'output'] if asked.layers else []
    size: Any = asked.input_size
    size = size[0] if size and len(size) == 1 else size
    yield ['network', *layer_columns, 'trained', 'statistics', 'parameters', 'multiply-adds']
    for source in asked.networks:
        cost = network_cost(source, size, asked.classes)
        for layer in cost.layers if asked.layers else ():
            yield [source, layer.name, layer.op, '×'.join(map(str, layer.output)), layer.parameters,
                   layer.statistics, layer.parameters + layer.statistics, layer.flops]
        total = ['total', '', ''] if asked.layers else []
        yield [source, *total, cost.trained, cost.parameters - cost.trained, cost.parameters,
               cost.flops]


@cli.entry
def main(argv: Optional[Sequence[str]] = None) -> None:
    (asked,) = parse(cli.parser(__doc__), argv, Options)
    from ..paper.compare import COLUMNS, compare_all
    rows = (list(network_rows(asked)) if asked.networks
            else [list(COLUMNS), *(figure.cells for figure in compare_all())])
    cli.show_table(rows)
    if asked.csv:
        write_csv(asked.csv, rows)
