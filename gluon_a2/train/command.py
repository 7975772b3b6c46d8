"""The command line that the training scripts share; it imports no MXNet."""
from __future__ import annotations

import argparse
import logging
import os
import sys
import textwrap
from typing import Callable, NamedTuple, Sequence

from .. import cli, flags
from ..errors import UserError
from ..launch import foreign, start
from ..launch.launcher import launch
from ..launch.options import Processes
from ..machine import ranks
from ..run import recipes
from ..run.options import PLACE, Options
from ..run.recipes import Recipe
from . import gluoncv_flags


class Command(NamedTuple):
    """What a command line asks for; a launcher gives `arguments` to its ranks, with its own."""
    recipe: Recipe
    options: Options
    processes: Processes
    arguments: list[str]


def parse(doc: str | None, argv: Sequence[str] | None, dims: int) -> Command:
    """The command line of a command for images (`dims` 2) or videos (3)."""
    parser, paper = cli.parser(doc), recipes.PAPER[dims]
    group = parser.add_argument_group(
        f'recipes (without data {recipes.EMBEDDED[dims]}, else {paper}, whose values are shown)',
        textwrap.fill(f'--recipe {", ".join(recipes.names(dims))}', 96, subsequent_indent='  ')
        + '\n--config FILE  run.json of an earlier run, whose flags hold where none is given')
    group.add_argument('--recipe', help=argparse.SUPPRESS)
    group.add_argument('--config', help=argparse.SUPPRESS)
    flags.add_flags(parser, Options, dims=dims)
    recipes.add_flags(parser, dims)
    flags.add_flags(parser, Processes)
    known, unknown = parser.parse_known_args(argv)
    _answer(unknown)
    if unknown:
        parser.error(f'unrecognized arguments: {" ".join(unknown)}')
    given = vars(known)
    name, config, earlier = given['recipe'], given['config'], None
    base: dict = {}
    if config:
        if name:
            raise UserError('`recipe` and `config` exclude each other: give one of them')
        earlier, base = recipes.read_run(config, dims)
    options = flags.from_args(Options, flags.override(Options, base, given))
    processes = flags.from_args(Processes, given)
    default = paper if options.data else recipes.EMBEDDED[dims]
    name = name or ('ucf101' if options.split is not None else default)
    fields = {field: given[field] for field in vars(recipes.RECIPES[paper]) if field in given}
    if 'synthetic_data' in given:
        fields = {'num_epochs': 1, 'num_steps': 0, **fields}  # nothing is learned: no paper's batch
    arguments = [f'--config={config}' if config else f'--recipe={name}',
                 *flags.to_args(Recipe, fields), *flags.to_args(Options, given, skip=PLACE)]
    fields['ranks'] = processes.num_proc if processes.is_launcher() else ranks.ranks()
    return Command(recipes.choose(name, fields, dims, earlier), options, processes, arguments)


def _answer(words: Sequence[str]) -> None:
    """UserError for the first of the unknown words that others have as a flag."""
    known = {'GluonCV': gluoncv_flags.ANSWERS, **foreign.FLAGS}
    for flag in (word.partition('=')[0] for word in words if word.startswith('--')):
        for whose, answers in known.items():
            answer = answers.get(flag[2:]) or answers.get(flag[2:].replace('_', '-'))
            if answer:
                raise UserError(f'{flag} is a flag of {whose}: {answer}')


def run(command: Command, train: Callable[[Recipe, Options], str]) -> None:
    """Start the ranks, or be one: read, or `train(recipe, options)`; rank 0 prints the result."""
    recipe, options, processes, arguments = command
    foreign.refuse_copies()
    if processes.is_launcher():
        save_dir = options.save_dir or recipes.default_folder(recipe)
        script, *words = cli.program()
        sys.exit(launch(processes, script, [*words, *arguments], save_dir, options.resume,
                        options.overwrite, options.rank_timeout))
    start.show()
    os.environ.update(recipes.environment(recipe))
    # what all ranks find in the data is said once
    logging.basicConfig(format='%(message)s', level='ERROR' if ranks.rank() else 'WARNING')
    work = _read if options.test_io is not None else _check if options.check else train
    report = work(recipe, options)
    if ranks.rank() == 0:
        print(report)


def _check(recipe: Recipe, options: Options) -> str:
    """What there is, without training."""
    from .checking import check
    return check(recipe, options)


def _read(recipe: Recipe, options: Options) -> str:
    """Read without training, and say how fast that is."""
    from .reading import measure
    count, damaged, seconds = measure(recipe, options)
    what = 'clips' if recipe.frames else 'images'
    return (f'{count} {what} read and {damaged} damaged in {seconds:.1f} s: {count / seconds:.0f} '
            f'{what}/s in all, {count / seconds / recipe.ranks:.0f} per rank')
