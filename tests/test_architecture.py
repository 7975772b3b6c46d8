"""Which module may import which: read off the sources, so that a reversed arrow fails."""
import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'gluon_a2'
SOURCES = sorted(PACKAGE.rglob('*.py'))
SCRIPTS = sorted([*(ROOT / 'scripts').glob('*.py'), *(ROOT / 'symbols').glob('*.py')])

# Everything else of the package that a folder may import, besides itself and `gluon_a2` for its
# version.
ALLOWED = {
    'machine': {'errors'},
    'formats': {'backend', 'errors'},
    'nn': {'backend', 'errors'},
    'models': {'backend', 'data', 'errors', 'files', 'formats', 'known', 'legacy', 'nn'},
    'paper': {'cost', 'errors', 'formats', 'models', 'nn'},
    'data': {'errors', 'files', 'flags', 'machine'},
    'scoring': {'data', 'errors', 'files', 'machine'},
    'deploy': {'backend', 'data', 'engines', 'errors', 'files', 'flags', 'formats', 'legacy',
               'machine', 'scoring'},
    'visualization': {'backend', 'data', 'deploy', 'errors', 'files', 'formats', 'nn', 'scoring'},
    'run': {'backend', 'data', 'deploy', 'errors', 'files', 'flags', 'known', 'machine',
            'models', 'nn', 'visualization'},
    'launch': {'backend', 'errors', 'files', 'flags', 'machine'},
    'train': {'backend', 'cli', 'cost', 'data', 'deploy', 'errors', 'files', 'flags', 'launch',
              'machine', 'models', 'run', 'scoring', 'visualization'},
    'commands': {'cli', 'data', 'deploy', 'engines', 'errors', 'files', 'flags', 'known', 'machine',
                 'models', 'paper', 'run', 'scoring', 'train', 'visualization'},
}

# Imports inside a function, and why: each is heavy or optional, and most callers do without it.
LOCAL = {
    # after the checks that make them possible
    ('gluon_a2/backend.py', 'gluon_a2.legacy'),
    ('gluon_a2/backend.py', 'mxnet'),
    ('gluon_a2/data/digits.py', 'sklearn.datasets'),  # only when the digits are first written
    ('gluon_a2/data/photos.py', 'sklearn.datasets'),
    ('gluon_a2/data/val_labels.py', 'scipy.io'),  # only for the numbers of ImageNet's own list
    # ONNX Runtime needs no MXNet, and the reverse
    ('gluon_a2/deploy/engines.py', 'gluon_a2.deploy.mxnet_engine'),
    ('gluon_a2/deploy/engines.py', 'gluon_a2.backend'),
    ('gluon_a2/deploy/engines.py', 'onnxruntime'),
    # `Wanted` is read, for --help, without MXNet
    ('gluon_a2/deploy/export.py', 'gluon_a2.deploy.mxnet_engine'),
    ('gluon_a2/deploy/export.py', 'gluon_a2.deploy.parity'),
    # they bring converters, which a plain export does without
    ('gluon_a2/deploy/export.py', 'gluon_a2.deploy.onnx'),
    ('gluon_a2/deploy/export.py', 'gluon_a2.deploy.onnx_int8'),
    ('gluon_a2/deploy/export.py', 'gluon_a2.deploy.precision'),
    ('gluon_a2/deploy/onnx.py', 'onnx'),  # optional: the `onnx` extra
    ('gluon_a2/deploy/onnx_int8.py', 'onnx'),
    ('gluon_a2/deploy/features.py', 'onnx'),
    # optional, and what exporting for it takes
    ('gluon_a2/deploy/pytorch.py', 'torch'),
    ('gluon_a2/deploy/export.py', 'gluon_a2.deploy.pytorch'),
    ('gluon_a2/deploy/parity.py', 'gluon_a2.deploy.pytorch'),
    # the form itself, which nothing here imports
    ('gluon_a2/pytorch/a2_torch.py', 'safetensors'),
    ('gluon_a2/pytorch/a2_torch.py', 'safetensors.torch'),
    ('gluon_a2/deploy/engines.py', 'openvino'),  # optional: the `openvino` extra
    ('gluon_a2/deploy/engines.py', 'openvino.properties.hint'),
    ('gluon_a2/data/video.py', 'av'),  # optional: the `video` extra
    ('gluon_a2/models/weights.py', 'torch'),  # optional: only for files of torch.save
    ('gluon_a2/models/baselines.py', 'gluoncv.model_zoo'),  # optional: the `zoo` extra
    ('gluon_a2/models/baselines.py', 'gluoncv.model_zoo.model_store'),
    ('gluon_a2/train/distributed.py', 'horovod.mxnet'),
    ('gluon_a2/train/distributed.py', 'horovod.common.exceptions'),
    # a run's network needs MXNet, and exported files may not
    ('gluon_a2/run/load.py', 'gluon_a2.run.checkpoint'),
    ('gluon_a2/run/load.py', 'gluon_a2.run.network'),
    ('gluon_a2/run/load.py', 'gluon_a2.backend'),
    ('gluon_a2/run/load.py', 'gluon_a2.models.table'),
    ('gluon_a2/train/command.py', 'gluon_a2.train.checking'),  # they need MXNet
    ('gluon_a2/train/command.py', 'gluon_a2.train.reading'),
    # optional: the `distributed` extra; one rank does without
    ('gluon_a2/launch/launcher.py', 'horovod.runner.common.util.hosts'),
    ('gluon_a2/launch/rendezvous.py', 'horovod.runner.http.http_server'),
    ('gluon_a2/launch/process.py', 'horovod.runner.gloo_run'),
    ('gluon_a2/launch/process.py', 'horovod.runner.util.network'),
    ('gluon_a2/visualization/page.py', 'matplotlib'),
    ('gluon_a2/visualization/sheet.py', 'PIL'),
    ('gluon_a2/visualization/sheet.py', 'matplotlib'),
    ('gluon_a2/visualization/sheet.py', 'matplotlib.colors'),
    # slow to import; only when a picture is drawn
    ('gluon_a2/visualization/figure.py', 'matplotlib.backends.backend_agg'),
    ('gluon_a2/visualization/figure.py', 'matplotlib.figure'),
}


def modules(path):
    """(absolute name of each imported module, whether it is imported inside a function) of a source
    file."""
    where = list(path.relative_to(ROOT).with_suffix('').parts)
    tree = ast.parse(path.read_text(encoding='utf-8'))
    inside = {
        id(node) for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.Lambda)) for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join([
                *where[:len(where) - node.level], *([node.module] if node.module else [])
            ]) if node.level else node.module
            # `from . import x` and `from gluon_a2 import x` may import the module x
            names = [
                f'{base}.{alias.name}' if
                (ROOT / base.replace('.', '/') / f'{alias.name}.py').exists() or
                (ROOT / base.replace('.', '/') / alias.name).is_dir() else base
                for alias in node.names
            ]
        else:
            continue
        yield from ((name, id(node) in inside) for name in names)


def test_the_parser_sees_all_forms_of_import():
    found = {name for name, _ in modules(PACKAGE / 'train' / 'loop.py')}
    assert {'gluon_a2.data', 'gluon_a2.backend', 'gluon_a2.run.checkpoint', 'numpy',
            'pathlib'} <= found
    assert ('gluoncv.model_zoo', True) in set(modules(PACKAGE / 'models' / 'baselines.py'))
    assert ('gluon_a2.formats.symbol', False) in set(modules(PACKAGE / 'paper' / 'compare.py'))


def test_every_folder_has_its_rule():
    assert {path.parent.name for path in PACKAGE.glob('*/__init__.py')} == set(ALLOWED)


@pytest.mark.parametrize('folder', ALLOWED)
def test_arrows_point_one_way(folder):
    sources = sorted((PACKAGE / folder).rglob('*.py'))
    assert sources
    for path in sources:
        for name, _ in modules(path):
            if name.startswith('gluon_a2.'):
                assert name.split('.')[1] in ALLOWED[folder] | {
                    folder
                }, f'{path.relative_to(ROOT)} imports {name}'


@pytest.mark.parametrize('path', sorted(PACKAGE.glob('*.py')), ids=lambda path: path.name)
def test_single_modules_import_no_training(path):
    """They stand below `train`; the leaves among them import nothing of ours but the errors."""
    ours = {name.split('.')[1] for name, _ in modules(path) if name.startswith('gluon_a2.')}
    assert 'train' not in ours
    if path.name in ('backend.py', 'errors.py', 'files.py', 'flags.py', 'cli.py', 'legacy.py'):
        assert ours <= {'errors', 'legacy', 'machine'}
    if path.name == 'cost.py':
        assert ours <= {'backend', 'errors', 'formats', 'nn'}


def test_mxnet_is_imported_in_one_place():
    assert [
        str(path.relative_to(ROOT)) for path in SOURCES + SCRIPTS if any(
            name.split('.')[0] == 'mxnet' for name, _ in modules(path))
    ] == ['gluon_a2/backend.py']


def test_nothing_imports_the_commands_but_the_scripts():
    assert [str(path) for path in SOURCES if path.parent.name != 'commands'
            and path.name != '__main__.py'
            and any(name.startswith('gluon_a2.commands') for name, _ in modules(path))] == []


def test_nothing_imports_the_scripts():
    names = {path.stem for path in SCRIPTS} | {'scripts', 'symbols', 'tests', 'benchmarks',
                                               'proofs', 'docs'}
    for path in SOURCES + SCRIPTS:
        wrong = [name for name, _ in modules(path) if name.split('.')[0] in names]
        assert wrong == [], f'{path.relative_to(ROOT)} imports {wrong}'


def test_imports_inside_functions_are_these():
    """Commands import inside `main`, so that --help, and the workers that re-import them, need no
    MXNet."""
    assert {(str(path.relative_to(ROOT)), name) for path in SOURCES for name, local in modules(path)
            if local and path.parent.name != 'commands'} == LOCAL


def imported(statement):
    code = (f'import sys; {statement}; '
            'print(*sorted({name.split(".")[0] for name in sys.modules}))')
    return set(
        subprocess.run([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE,
                       encoding='utf-8', check=True, timeout=60).stdout.split())


@pytest.mark.parametrize('module', [
    'gluon_a2', 'gluon_a2.data', 'gluon_a2.cli', 'gluon_a2.scoring.metrics',
    'gluon_a2.data.prepare', 'gluon_a2.run.recipes', 'gluon_a2.formats.params', 'gluon_a2.deploy'])
def test_what_works_without_mxnet_does_not_import_it(module):
    assert not {'mxnet', 'gluoncv', 'sklearn', 'matplotlib'} & imported(f'import {module}')


def test_a_process_that_computes_does_import_it():
    assert 'mxnet' in imported('import gluon_a2.nn')


FOREIGN_FLAGS = {'--force-reinstall', '--no-deps'}  # pip's


def unannotated(tree):
    """Names of the public functions and methods that lack the type of an argument or a result.
    `hybrid_forward`, its F, and `prefix` and `params` of every block are Gluon's."""
    bodies = [tree.body, *(node.body for node in tree.body
                           if isinstance(node, ast.ClassDef) and not node.name.startswith('_'))]
    for body in bodies:
        for node in body:
            if isinstance(node, ast.FunctionDef) and (
                    node.name == '__init__' or not node.name.startswith('_')
                    and node.name != 'hybrid_forward'):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs,
                         node.args.vararg, node.args.kwarg]
                if node.name != '__init__' and node.returns is None or any(
                        arg.annotation is None for arg in given
                        if arg and arg.arg not in ('self', 'cls', 'F', 'prefix', 'params')):
                    yield node.name


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_functions_are_annotated(path):
    assert list(unannotated(ast.parse(path.read_text(encoding='utf-8')))) == []


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_messages_of_the_library_name_no_flag_and_no_script(path):
    """They name options as Python spells them, in backticks, and `cli.entry` makes them flags."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Raise):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    named = set(re.findall(r'(?<![\w-])--[a-z][a-z-]+|scripts/\w+', part.value))
                    assert named <= FOREIGN_FLAGS, f'line {node.lineno}: {part.value}'
