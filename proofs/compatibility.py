#!/usr/bin/env python3
"""Which MXNet 1.x loads what is exported here, each release in an environment of its own, and are
the logits equal?

    python proofs/compatibility.py --record --python PATH/python3.6 PATH/python3.8
    python proofs/compatibility.py --versions 1.5.1 1.9.1 --environments DIR

Exports a network of each kind, 2-D and 3-D, with random weights and the running statistics of
noise; then, for each release, makes a virtual environment, loads the pair of files in the three
ways that MXNet has, and compares the logits with the exporting process's. pip leaves
dependencies alone (`--no-deps`), because those that the old wheels ask for no longer resolve. MXNet
needs two of them only: numpy and a requests that brings its own. `--record` also asks the oldest
release that loads everything which attributes the operators in symbols/ have there;
tests/test_compatibility.py holds every symbol to its answer. Keeps `compatibility.csv` and
`compatibility.json`.
"""
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import job
from bench import keep
from tqdm import tqdm

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError

CSV, RECORD = (Path(__file__).with_suffix(ending) for ending in ('.csv', '.json'))
TOLERANCE = 1e-5  # of the largest logit
WAYS = ('load_checkpoint', 'module', 'symbol_block')
NETWORKS = [
    f'{kind}{base}' for base in ('resnet26', 'resnet26_3d') for kind in ('a2_', 'nl_', 'se_', '')
]
NETWORKS += ['a2_resnet50', 'a2_resnet50_3d']  # they have a max pool


class Version(NamedTuple):
    """A release, and an interpreter and a numpy that it works with."""
    mxnet: str
    python: str
    numpy: str


# The first wheel of 1.0.0 leaves out libgfortran.so.3; .post4 is the same release with it. Python
# 3.6 has wheels of the old numpy; the pip that comes with it does not find MXNet from 1.7 on
# (manylinux2014), the one of 3.8 does.
VERSIONS = [
    Version('1.0.0.post4', '3.6', '1.13.3'),
    Version('1.1.0', '3.6', '1.13.3'),
    Version('1.2.1', '3.6', '1.14.6'),
    Version('1.3.1', '3.6', '1.14.6'),
    Version('1.4.1', '3.6', '1.14.6'),
    Version('1.5.0', '3.6', '1.16.6'),
    Version('1.5.1', '3.6', '1.16.6'),
    Version('1.6.0', '3.6', '1.16.6'),
    Version('1.7.0.post2', '3.8', '1.19.5'),
    Version('1.8.0.post0', '3.8', '1.19.5'),
    Version('1.9.0', '3.8', '1.23.5'),
    Version('1.9.1', '3.8', '1.23.5'),
]

REQUESTS = '2.9.2'  # before 2.16 it held its dependencies itself; MXNet imports it for downloads

# Runs in the old environment, so its Python is old too.
LOADER = '''
import json, re, sys
import numpy as np, mxnet as mx
prefix = sys.argv[1]
x, expected = mx.nd.array(np.load(prefix + '-x.npy')), np.load(prefix + '-logits.npy')

def load_checkpoint():
    symbol, arguments, statistics = mx.model.load_checkpoint(prefix, 0)
    arguments['data'] = x
    return symbol.bind(mx.cpu(), arguments, aux_states=statistics, grad_req='null').forward()[0]

def module():
    module = mx.mod.Module.load(prefix, 0, label_names=None)
    module.bind([('data', x.shape)], for_training=False)
    module.forward(mx.io.DataBatch([x]), is_train=False)
    return module.get_outputs()[0]

def symbol_block():
    block = mx.gluon.SymbolBlock.imports(prefix + '-symbol.json', ['data'], prefix + '-0000.params')
    block.hybridize()
    return block(x)

def reason(error):
    """The first line, without its time and line in MXNet's sources and what would be possible."""
    line = str(error).strip().splitlines()[0]
    return re.sub(r'^(MXNetError: )?(\\[.*?\\] \\S+: )?|, Possible Arguments.*', '', line)

found = {}
for way in (load_checkpoint, module, symbol_block):
    try:
        found[way.__name__] = float(abs(way().asnumpy() - expected).max() / abs(expected).max())
    except Exception as error:
        found[way.__name__] = reason(error)
print(json.dumps(found))
'''

ASKER = r'''
import json, re, sys
import mxnet as mx
known = {}
for name in sys.argv[1:]:
    operator = getattr(mx.sym, name, None) or getattr(mx.sym._internal, name, None)
    if operator:
        fields = re.findall(r'^(\w+) : (.*)$', operator.__doc__, re.M)
        known[name] = {field: kind for field, kind in fields
                       if field != 'name' and 'Symbol' not in kind}
print(json.dumps(known))
'''


# ---- what is loaded

def export(name, folder):
    """Write the network's bundle, an input and its logits under `folder`; the prefix."""
    import numpy as np

    from gluon_a2.backend import mx
    from gluon_a2.deploy import write_bundle
    from gluon_a2.models import get_model
    from gluon_a2.run import network
    from gluon_a2.run.recipes import Recipe
    recipe = Recipe(model=name, classes=10, input_size=64, frames=4 if name.endswith('_3d') else 0)
    net, rng = get_model(name, classes=10, input_size=recipe.space), np.random.RandomState(3)
    mx.random.seed(3)
    # With a magnitude of 2, as trained from, random attention is so sharp that rounding alone moves
    # the logits by 1e-4.
    net.initialize(mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=1))
    for key, parameter in net.collect_params().items():  # no scale, shift or statistic stays 1 or 0
        if key.endswith(('gamma', 'beta', 'bias', 'running_mean', 'running_var')):
            start = 0.5 if key.endswith(('gamma', 'var')) else -0.5
            parameter.set_data(mx.nd.random.uniform(start, start + 1, parameter.shape))
    prefix, x = Path(folder) / name, rng.normal(size=(2, 3, *recipe.space)).astype('float32')
    write_bundle(network.bundle(net, recipe, [str(i) for i in range(10)], None), prefix)
    np.save(f'{prefix}-x.npy', x)
    np.save(f'{prefix}-logits.npy', net(mx.nd.array(x)).asnumpy())
    return prefix


# ---- the environments

def interpreters(given):
    """{'3.6': path} of the interpreters given, and of the python3.x on PATH."""
    found = {}
    for path in [*given, *sorted({f'python{version.python}' for version in VERSIONS})]:
        path = shutil.which(path) or path
        try:
            done = subprocess.run([path, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])'],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  encoding='utf-8')
        except OSError as error:
            if path in given:
                raise UserError(f'--python {path} cannot be run: {error.strerror}') from error
            continue
        if done.returncode == 0:  # a launcher of that name may start nothing
            found.setdefault(done.stdout.strip(), path)
    return found


def environment(version, python, folder):
    """The interpreter of a virtual environment with that version, made in `folder` unless it is
    there."""
    made = folder / version.mxnet
    inside, mark = str(made / 'bin' / 'python'), made / '.complete'
    if mark.exists():
        return inside
    shutil.rmtree(made, ignore_errors=True)
    pins = [f'mxnet=={version.mxnet}', f'numpy=={version.numpy}', f'requests=={REQUESTS}']
    for command in ([python, '-m', 'venv', str(made)],
                    [inside, '-m', 'pip', 'install', '-q', '--no-deps', *pins]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding='utf-8')
        if done.returncode:
            said = done.stdout.strip().splitlines() or ['nothing']
            raise UserError(f'no environment for MXNet {version.mxnet}: {" ".join(command)} said: '
                            f'{said[-1]}')
    mark.touch()
    return inside


def ask(python, code, *arguments):
    """What `code` prints in another environment, from JSON; RuntimeError where the process dies."""
    done = subprocess.run([python, '-W', 'ignore', '-c', code, *map(str, arguments)],
                          cwd=tempfile.gettempdir(), capture_output=True, encoding='utf-8')
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ['nothing said']
        raise RuntimeError(f'exit code {done.returncode}: {lines[-1]}')
    return json.loads(done.stdout.splitlines()[-1])


# ---- all of them

def load(python, version, name, prefix):
    """A row of the CSV: for each way the difference of the logits, or that it fails and why."""
    try:
        found = ask(python, LOADER, prefix)
    except RuntimeError as error:
        found = dict.fromkeys(WAYS, str(error))
    reasons = sorted({value for value in found.values() if isinstance(value, str)})
    return {
        **version._asdict(), 'network': name, **{
            way: 'fails' if isinstance(found[way], str) else f'{found[way]:.1e}' for way in WAYS
        }, 'error': '; '.join(reasons)
    }


def load_everywhere(pythons, folder, forget):
    """The rows of all versions in `pythons`, {version: interpreter}; `forget` removes each
    environment."""
    with tempfile.TemporaryDirectory() as exported:
        prefixes = {
            name: export(name, exported) for name in tqdm(NETWORKS, desc='export', disable=None)
        }
        with tqdm(total=len(pythons) * len(NETWORKS), unit='network', disable=None) as bar:
            for version, python in pythons.items():
                bar.set_description(version.mxnet)
                inside = environment(version, python, folder)
                for name, prefix in prefixes.items():
                    yield load(inside, version, name, prefix)
                    bar.update()
                if forget:
                    shutil.rmtree(folder / version.mxnet)


def loads(found):
    """Whether a row of the CSV loads the network and gives the logits, by `load_checkpoint` and by
    Module."""
    return all(found[way] != 'fails' and float(found[way]) <= TOLERANCE
               for way in ('load_checkpoint', 'module'))


def summary(rows):
    """A line for each version: MXNet, Python, numpy, networks loaded, the largest difference, what
    fails."""
    yield 'MXNet', 'Python', 'numpy', 'networks loaded', 'largest difference', 'what fails'
    for version in dict.fromkeys(row['mxnet'] for row in rows):
        mine = [row for row in rows if row['mxnet'] == version]
        differences = [row[way] for row in mine for way in WAYS if row[way] != 'fails']
        errors = sorted({row['error'] for row in mine} - {''})
        yield (version, mine[0]['python'], mine[0]['numpy'], f'{sum(map(loads, mine))} of '
                                                             f'{len(mine)}',
               max(differences, key=float, default='–'), '; '.join(errors) or '–')


def oldest(rows):
    """The first version from which on every network loads."""
    failed = [row['mxnet'] for row in rows if not loads(row)]
    versions = list(dict.fromkeys(row['mxnet'] for row in rows))
    good = versions[versions.index(failed[-1]) + 1:] if failed else versions
    if not good:
        raise UserError(f'MXNet {versions[-1]} does not load every network: see {CSV}')
    return good[0]


def record(version, python, folder):
    """Keep what `version` knows of the operators in symbols/: {operator: {attribute: its type, in
    words}}."""
    symbols = (job.ROOT / 'symbols').glob('*-symbol.json')
    used = {node['op'] for path in symbols
            for node in json.loads(path.read_text())['nodes']} - {'null'}
    known = ask(environment(version, python, folder), ASKER, *sorted(used))
    RECORD.write_text(
        json.dumps({'mxnet': version.mxnet, 'operators': known}, indent=1) + '\n', encoding='utf-8')


@entry
def main(argv=None):
    """Export, load everywhere, print, keep."""
    flags = parser(__doc__)
    flags.add_argument('--versions', nargs='+', metavar='VERSION',
                       choices=[version.mxnet for version in VERSIONS],
                       help='only these, and keep no files; default: all')
    flags.add_argument('--python', nargs='+', metavar='PATH', default=[],
                       help='interpreters, besides those on PATH')
    flags.add_argument('--environments', type=Path, metavar='DIR',
                       help='keep the environments here (0.2 GB each) and use those that are; '
                            'without it none is kept')
    flags.add_argument('--record', action='store_true',
                       help='also ask the oldest that loads all for its operators')
    args = flags.parse_args(argv)
    if args.record and args.versions:
        raise UserError('--record needs every version: leave out --versions')
    found, pythons = interpreters(args.python), {}
    for version in VERSIONS:
        if args.versions and version.mxnet not in args.versions:
            continue
        if version.python not in found:
            raise UserError(f'MXNet {version.mxnet} needs Python {version.python}, which is not on '
                            'PATH: name one with --python, or leave this version out with '
                            '--versions')
        pythons[version] = found[version.python]
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.environments.resolve() if args.environments else Path(scratch)
        rows = list(load_everywhere(pythons, folder, forget=not args.environments))
        if args.record:
            version = next(version for version in pythons if version.mxnet == oldest(rows))
            record(version, pythons[version], folder)
    if not args.versions:
        keep(rows, CSV)
    show_table(list(summary(rows)))


if __name__ == '__main__':
    main()
