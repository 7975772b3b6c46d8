"""The command line that the training scripts share; it imports no MXNet."""
import logging
import os
import sys
from argparse import ArgumentParser

from ..flags import add_flags, from_args
from ..launch.launcher import launch
from ..launch.options import Processes
from ..machine import ranks
from ..run import recipes


def add_run_flags(flags, dims, default):
    """The group of flags that say where data and results are; `default` is what is trained where
    none is given."""
    what = {2: 'images', 3: 'videos'}[dims]
    run = flags.add_argument_group('run')
    run.add_argument('--recipe', metavar='NAME', help=f'one of {", ".join(recipes.names(dims))}; '
                                                      f'{default} where not given')
    run.add_argument(
        '--synthetic-data', type=int, nargs='?', const=100, metavar='STEPS', help='random pixels, '
        'so many steps an epoch (100): how fast it trains when nothing is read')
    run.add_argument(
        '--test-io', type=int, nargs='?', const=0, metavar=what.upper(), help='only read, an '
        f'epoch or so many {what}: how fast they come, and which are damaged')
    run.add_argument('--num-gpus', type=int, default=0,
                     help='0 (CPU) or 1; one process drives one device')
    run.add_argument('-j', '--num-data-workers', type=int, default=2,
                     help=f'processes that decode {what}')
    run.add_argument('--save-dir', help='run folder; runs/<model>-<date>-<time> where not given')
    run.add_argument('--resume', action='store_true',
                     help='go on with the run in --save-dir, exactly')
    run.add_argument('--overwrite', action='store_true', help='delete an earlier run in --save-dir')
    run.add_argument('--save-frequency', type=int, default=1, help='epochs between checkpoints')
    run.add_argument('--save-steps', type=int, default=0,
                     help='also a checkpoint every so many steps')
    run.add_argument('--log-interval', type=int, default=50, help='steps between log lines')
    run.add_argument('--logging-file', help='instead of train.log in the run folder')
    run.add_argument('--max-damaged', type=int,
                     help=f'damaged {what} to leave out before stopping; 1 %% by default')
    run.add_argument(
        '--rank-timeout', type=float, default=20, metavar='S',
        help='seconds without a sign of life, or '
        'while all others wait, after which a rank is given up and the job ends')
    add_flags(flags, Processes)
    recipes.add_flags(flags, dims)
    return run


def parse(flags, argv, dims, choose_recipe):
    """(recipe, run options, flags of the launcher) of a command line; `choose_recipe(given)` names
    the recipe where the user does not."""
    namespace = flags.parse_args(argv)
    processes = from_args(Processes, namespace)
    given = {name: value for name, value in vars(namespace).items()
             if name not in Processes.__dataclass_fields__}
    fields = {
        name: given.pop(name) for name in list(given) if name in recipes.Recipe.__dataclass_fields__
    }
    if given['synthetic_data'] is not None:
        fields.setdefault('num_epochs', 1)
    name = given.pop('recipe') or choose_recipe(given)
    number = processes.num_proc if processes.is_launcher() else ranks.ranks()
    return recipes.choose(name, {**fields, 'ranks': number}, dims), given, processes


def run(argv, recipe, given, processes, train):
    """Start the ranks, or be one: read or `train(recipe, options)`, and print what that says on the
    first rank."""
    if processes.is_launcher():
        save_dir = given['save_dir'] or recipes.default_folder(recipe)
        sys.exit(launch(processes, sys.argv[0], _for_ranks(sys.argv[1:] if argv is None else argv),
                        save_dir, given['resume'], given['overwrite']))
    os.environ.update(recipes.environment(recipe))
    logging.basicConfig(format='%(message)s')
    samples = given.pop('test_io')
    told = train(recipe, given) if samples is None else _read(recipe, given, samples)
    if ranks.rank() == 0:
        print(told)


def _for_ranks(argv):
    """The arguments without those that the launcher sets itself."""
    flags = ArgumentParser(allow_abbrev=False, add_help=False)
    add_flags(flags, Processes)
    flags.add_argument('--save-dir')
    for name in ('--resume', '--overwrite'):
        flags.add_argument(name, action='store_true')
    return flags.parse_known_args(argv)[1]


def _read(recipe, given, samples):
    """Read without training, and say how fast that is."""
    from ..run.folder import Options
    from .reading import measure
    count, damaged, seconds = measure(recipe, Options(**given), samples)
    what = 'clips' if recipe.frames else 'images'
    return (
        f'{count} {what} read and {damaged} damaged in {seconds:.1f} s: {count / seconds:.0f} '
        f'{what}/s in all, {count / seconds / recipe.ranks:.0f} per rank')
