"""The command line that the training scripts share; it imports no MXNet."""
from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Callable, NamedTuple, Sequence

from .. import cli, flags
from ..launch.launcher import launch
from ..launch.options import Processes
from ..machine import ranks
from ..run import recipes
from ..run.options import Options
from ..run.recipes import Recipe


class Command(NamedTuple):
    """What a command line asks for; a launcher gives `arguments` to its ranks, with its own."""
    recipe: Recipe
    options: Options
    processes: Processes
    arguments: list[str]


def parse(doc: str | None, argv: Sequence[str] | None, dims: int) -> Command:
    """The command line of a command for images (`dims` 2) or videos (3)."""
    parser, paper = cli.parser(doc), recipes.PAPER[dims]
    parser.add_argument_group(
        f'recipes (without data {recipes.EMBEDDED[dims]}, else {paper}, whose values are shown)',
        f'--recipe {"|".join(recipes.names(dims))}').add_argument('--recipe',
                                                                  help=argparse.SUPPRESS)
    flags.add_flags(parser, Options, dims=dims)
    recipes.add_flags(parser, dims)
    flags.add_flags(parser, Processes)
    given = vars(parser.parse_args(argv))
    options, processes = flags.from_args(Options, given), flags.from_args(Processes, given)
    default = paper if options.data else recipes.EMBEDDED[dims]
    name = given['recipe'] or ('ucf101' if options.split is not None else default)
    fields = {field: given[field] for field in vars(recipes.RECIPES[paper]) if field in given}
    if options.synthetic_data:
        fields = {'num_epochs': 1, 'num_steps': 0, **fields}  # nothing is learned: no paper's batch
    arguments = [f'--recipe={name}', *flags.to_args(Recipe, fields),
                 *flags.to_args(Options, given, skip=('save_dir', 'resume', 'overwrite'))]
    fields['ranks'] = processes.num_proc if processes.is_launcher() else ranks.ranks()
    return Command(recipes.choose(name, fields, dims), options, processes, arguments)


def run(command: Command, train: Callable[[Recipe, Options], str]) -> None:
    """Start the ranks, or be one: read, or `train(recipe, options)`; rank 0 prints the result."""
    recipe, options, processes, arguments = command
    if processes.is_launcher():
        save_dir = options.save_dir or recipes.default_folder(recipe)
        script, *words = cli.program()
        sys.exit(launch(processes, script, [*words, *arguments], save_dir, options.resume,
                        options.overwrite))
    os.environ.update(recipes.environment(recipe))
    # what all ranks find in the data is said once
    logging.basicConfig(format='%(message)s', level='ERROR' if ranks.rank() else 'WARNING')
    report = (train if options.test_io is None else _read)(recipe, options)
    if ranks.rank() == 0:
        print(report)


def _read(recipe: Recipe, options: Options) -> str:
    """Read without training, and say how fast that is."""
    from .reading import measure
    count, damaged, seconds = measure(recipe, options)
    what = 'clips' if recipe.frames else 'images'
    return (f'{count} {what} read and {damaged} damaged in {seconds:.1f} s: {count / seconds:.0f} '
            f'{what}/s in all, {count / seconds / recipe.ranks:.0f} per rank')
