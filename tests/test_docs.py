"""What the documentation names is there: modules and their contents, files, flags, variables."""
import argparse
import ast
import importlib
import re
from pathlib import Path

import pytest
from loading import load

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'gluon_a2'
PAGES = [*(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md')),
         *sorted((ROOT / 'docs').glob('*.md'))]
SCRIPTS = sorted((ROOT / 'scripts').glob('*.py'))
TOOLS = sorted(path for folder in ('benchmarks', 'proofs', 'docs')
               for path in (ROOT / folder).glob('*.py'))
ROOMS = {path.stem for path in PACKAGE.iterdir() if path.suffix in ('', '.py')} - {'__pycache__'}
# Endings that make a dotted name a file, and flags of other people's programs.
ENDINGS = ('csv', 'idx', 'json', 'jsonl', 'log', 'lst', 'md', 'onnx', 'params', 'png', 'py', 'rec',
           'sh', 'slurm', 'txt', 'html', 'gif', 'c')
FOREIGN = {'--gloo', '--pass-through', '--no-build-isolation', '--force-reinstall', '--no-deps',
           '--build-arg'}


def code(page, blocks_too=True):
    """The code of a page: what stands in backticks, and blocks, their continued lines joined."""
    text = page.read_text(encoding='utf-8')
    blocks = re.findall(r'^```\w*\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r'^```\w*\n.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    return re.findall(r'`([^`]+)`', rest) + (lines if blocks_too else [])


def pieces(pattern, blocks_too=True):
    """(page, what matches the pattern in its code), for a test of each."""
    return sorted({(page.name, match) for page in PAGES for part in code(page, blocks_too)
                   for match in re.findall(pattern, part)})


def is_there(name):
    """Whether a dotted name can be imported, or is a field of what can."""
    parts = ['gluon_a2', *name.split('.')]
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module('.'.join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            fields = getattr(found, '__dataclass_fields__', {})
            if not hasattr(found, part) and part not in fields:
                return False
            found = getattr(found, part, None)
        return True
    return False


NAME = r'([a-z][a-z0-9_]*(?:\.[A-Za-z_]\w*)+)'
# In a block a name without the package's may be a variable of the same name as a room.
DOTTED = [(page, name) for page, name in [*pieces(r'\bgluon_a2\.([a-z]\w*(?:\.\w+)*)'),
                                          *pieces(rf'(?<![\w./-]){NAME}', blocks_too=False)]
          if name.split('.')[0] in ROOMS and name.split('.')[-1] not in ENDINGS]


@pytest.mark.parametrize('page, name', DOTTED)
def test_dotted_names_are_in_the_package(page, name):
    assert is_there(name), f'{page} names {name}'


FILES = [(page, path) for page, path in pieces(
    r'(?<![\w./<>-])([\w.-]+(?:/[\w.-]+)*\.(?:py|md|c|slurm|sh))(?![\w/])')
    if not path.endswith('-torch.py')]  # what export.py writes


@pytest.mark.parametrize('page, path', FILES)
def test_files_of_the_repository_are_there(page, path):
    """By their path from the root or the package; a bare name somewhere in the repository."""
    assert any((folder / path).exists() for folder in (ROOT, PACKAGE, ROOT / 'docs')) or (
        '/' not in path and any(ROOT.glob(f'[a-z]*/**/{path}'))), f'{page} names {path}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for link in re.findall(r'\]\(([^)#\s]+)', page.read_text(encoding='utf-8')):
        assert '://' in link or (page.parent / link).exists(), link


class Stop(BaseException):
    """Nothing of a script is run but its parser."""


@pytest.fixture(scope='module')
def flags():
    """{script: its flags}."""
    found = {}

    def capture(parser, *rest, **named):
        raise Stop(set(parser._option_string_actions))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', capture)
        patch.setattr(argparse.ArgumentParser, 'parse_known_args', capture)
        for path in SCRIPTS:
            with pytest.raises(Stop) as stopped:
                load(f'scripts/{path.name}').main([])
            found[path.name], = stopped.value.args
    for path in TOOLS:
        found[path.name] = set(re.findall(r"'(--?[a-z][\w-]*)'", path.read_text(encoding='utf-8')))
    return found


def test_flags_are_those_of_a_script(flags):
    known = set().union(FOREIGN, *flags.values())
    assert [(page, flag) for page, flag in pieces(r'(?<![\w-])(--[a-z][a-z0-9-]*)')
            if flag not in known] == []


def test_commands_give_scripts_their_own_flags(flags):
    wrong = []
    for page in PAGES:
        for part in code(page):
            for script, rest in re.findall(r'([a-z_]+\.py)((?: +[^|;&#]*)?)', part):
                given = set(re.findall(r'(?<=\s)(--?[A-Za-z][\w-]*)', rest))
                wrong += [(page.name, script, flag) for flag in given - flags.get(script, given)]
    assert wrong == []


def variables(path):
    """The names of environment variables in a source that reads the environment."""
    text = path.read_text(encoding='utf-8')
    if 'environ' not in text:
        return set()
    return {node.value for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and re.fullmatch('[A-Z][A-Z0-9]*(_[A-Z0-9]+)+', node.value)}


def test_the_table_of_environment_variables_is_that_of_the_code():
    sources = [*PACKAGE.rglob('*.py'), *SCRIPTS]
    table = (ROOT / 'docs' / 'environment.md').read_text(encoding='utf-8')
    named = [name for line in table.splitlines() if line.startswith('| `')
             for name in re.findall('`([A-Z0-9_]+)`', line.split('|')[1])]
    assert sorted(named) == sorted(set().union(*map(variables, sources)))
