#!/usr/bin/env python
"""Write symbol_<net>.py and <net>-symbol.json for every network of the zoo.

    python symbols/generate.py

A test holds the files to the code: after a change to a network, run this and commit what it writes.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser

MODULE = '''"""{name}, in the layout of Dual Path Networks. Written by generate.py."""
from gluon_a2.models.trace import trace

get_before_pool, get_linear, get_symbol = trace('{name}')
'''


def contents(name):
    """{file name: text} of one network."""
    from gluon_a2.models.trace import trace
    _, get_linear, _ = trace(name)
    return {
        f'symbol_{name}.py': MODULE.format(name=name),
        f'{name}-symbol.json': get_linear().tojson() + '\n'
    }


@entry
def main(argv=None):
    """Write the files into --out."""
    flags = parser(__doc__)
    flags.add_argument('--out', type=Path, default=Path(__file__).parent, help='folder')
    args = flags.parse_args(argv)
    from tqdm import tqdm

    from gluon_a2.models import list_models
    for name in tqdm(list_models(), disable=None):
        for file, text in contents(name).items():
            (args.out / file).write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
