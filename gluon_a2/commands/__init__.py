"""The commands of `gluon-a2`, each the `main` of a module here; `scripts/` calls the same ones.

A module imports what computes inside its functions, so that its --help needs no MXNet.
"""
from __future__ import annotations

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__, cli
from ..errors import UserError

COMMANDS = {
    'train-imagenet': 'commands.train_imagenet', 'train-video': 'commands.train_video',
    'score': 'commands.score', 'predict': 'commands.predict', 'export': 'commands.export',
    'visualize': 'commands.visualize', 'count-cost': 'commands.count_cost',
    'compare-zoo': 'commands.compare_zoo',
    'prepare-imagenet': 'commands.prepare_imagenet', 'prepare-video': 'commands.prepare_video',
    'doctor': 'doctor'}
PACKAGE = Path(__file__).resolve().parents[1]


def summary(command: str) -> str:
    """The first line of a command's docstring, read without importing it."""
    source = PACKAGE.joinpath(*COMMANDS[command].split('.')).with_suffix('.py')
    doc = ast.get_docstring(ast.parse(source.read_bytes())) or ''
    return doc.partition('\n')[0].rstrip('.')


def listing() -> str:
    """What `gluon-a2 --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {summary(name)}' for name in COMMANDS]
    return '\n'.join(['usage: gluon-a2 COMMAND …', '', *lines, '',
                      'gluon-a2 COMMAND --help says what each takes.'])


@cli.entry
def main(argv: Sequence[str] | None = None) -> Any:
    """Run the command that the first word names."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ['--help']
    if name in ('-h', '--help'):
        print(listing())
    elif name == '--version':
        print(__version__)
    elif name in COMMANDS:
        module = importlib.import_module(f'gluon_a2.{COMMANDS[name]}')
        return module.main(rest, command=name)
    else:
        near = difflib.get_close_matches(name, COMMANDS, 1, 0)
        raise UserError(f'{name!r} is no command of gluon-a2: did you mean {near[0]}? All are '
                        'listed by gluon-a2 alone')
    return 0
