"""What the documentation names is there: modules and their contents, files, headings, flags,
variables. Its sentences are short."""
import argparse
import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
from loading import load

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'gluon_a2'
PROSE = load('tools/prose.py')
PAGES = PROSE.PAGES
SCRIPTS = sorted((ROOT / 'scripts').glob('*.py'))
TOOLS = sorted(path for folder in ('benchmarks', 'proofs', 'docs')
               for path in (ROOT / folder).glob('*.py'))
ROOMS = {path.stem for path in PACKAGE.iterdir() if path.suffix in ('', '.py')} - {'__pycache__'}
# Endings that make a dotted name a file, and flags of other people's programs.
ENDINGS = ('csv', 'idx', 'json', 'jsonl', 'log', 'lst', 'md', 'onnx', 'params', 'png', 'py', 'rec',
           'sh', 'slurm', 'txt', 'html', 'gif', 'c')
FOREIGN = {'--gloo', '--pass-through', '--no-build-isolation', '--force-reinstall', '--no-deps',
           '--build-arg', '--strict'}


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


def clicks():
    """{page: links from README.md to it}"""
    found, front = {}, [ROOT / 'README.md']
    while front:
        here = front.pop(0)
        for link in re.findall(r'\]\(([^)#\s:]+\.md)', here.read_text(encoding='utf-8')):
            there = (here.parent / link).resolve()
            if there not in found:
                found[there] = found.get(here, 0) + 1
                front.append(there)
    return found


def test_ten_things_are_as_many_clicks_away_as_contributing_says():
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| [^|]+ \| (?:\[[\w-]+\]\()?([\w/.-]+\.md)\)? \| (\d) \|$', text,
                      re.MULTILINE)
    assert len(rows) == 10
    assert {page: int(count) for page, count in rows} == {
        page: clicks()[(ROOT / page).resolve()] for page, _ in rows}


def test_every_page_is_two_clicks_away_at_most():
    assert max(clicks()[page.resolve()] for page in PAGES if page.name != 'README.md') <= 2


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for link in re.findall(r'\]\(([^)#\s]+)', page.read_text(encoding='utf-8')):
        assert '://' in link or (page.parent / link).exists(), link


def anchors(page):
    """What GitHub calls the headings of a page, for links to them."""
    text, found = page.read_text(encoding='utf-8'), []
    text = re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r'^#+ +(.*?)\s*$', text, re.MULTILINE):
        shown = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', heading)
        name = re.sub(r'[^\w\- ]', '', shown.lower()).replace(' ', '-')
        found.append(f'{name}-{found.count(name)}' if name in found else name)
    return found


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings(page):
    for link, anchor in re.findall(r'\]\(([^)#\s]*)#([^)\s]*)\)', page.read_text(encoding='utf-8')):
        if '://' not in link:
            assert anchor in anchors(page.parent / link if link else page), f'{link}#{anchor}'


def test_headings_by_hand(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('# Eq. 6 or 7?\n\n```\n# no heading\n```\n\n## `get_model`, [here](a.md)\n\n'
                    '## A²\n\n## A²\n', encoding='utf-8')
    assert anchors(page) == ['eq-6-or-7', 'get_model-here', 'a²', 'a²-1']


@pytest.mark.parametrize('path', [*PAGES, *PROSE.PROGRAMS],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_nine_sentences_of_ten_are_short_and_no_word_is_private(path):
    """Of pages, and of what the programs of a folder say."""
    for texts in PROSE.texts(path).values():
        share, long = PROSE.measure(texts)[3:]
        assert share >= PROSE.SHARE, '\n'.join(' '.join(words) for words in long)
        assert PROSE.private(texts) == []


def test_sentences_by_hand():
    text = '# A heading\n\nOne two three. Four `five` [six](seven)\neight!\n\n- Nine ten eleven\n'
    assert [len(words) for words in PROSE.sentences(text)] == [3, 4, 3]


def test_what_a_program_says_by_hand(tmp_path):
    program = tmp_path / 'program.py'
    program.write_text(
        'def f(n):\n    """One two three.\n\n    Parameters\n    ----------\n    n : int\n'
        '        Four five six.\n\n    Examples\n    --------\n    Not a word of this.\n    """\n'
        '    print(f"seven {n} nine " "ten", "eleven")\n', encoding='utf-8')
    docstrings, messages = PROSE.strings(program)
    assert [PROSE.sentences(text) for text in docstrings] == [
        [['One', 'two', 'three.'], ['Four', 'five', 'six.']]]
    assert messages == ['seven value nine ten']


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


# What a page says of its commands: that test_tutorial.py runs them, or why no test does.
RUN = 'run, in order, by `tests/test_tutorial.py`'
NOT_RUN = re.compile('no test runs (this|these|the other two) commands?', re.IGNORECASE)


def commands(page):
    """(program, words) of each line of a page that calls make, pip or a program of ours."""
    text = page.read_text(encoding='utf-8').replace('\\\n', ' ')
    for line in re.findall(r'^(?:    |\$ )(?:cd \w+ && )?((?:python|gluon-a2|make|pip) .*)', text,
                           re.MULTILINE):
        words = shlex.split(line, comments=True)
        yield (words[0], words[1:]) if words[0] != 'python' else (words[1], words[2:])


COMMANDS = [(page, *command) for page in PAGES for command in commands(page)]


def test_each_page_with_commands_says_whether_tests_run_them():
    said = {page: ' '.join(page.read_text(encoding='utf-8').split()) for page, *_ in COMMANDS}
    assert not [page.stem for page, text in said.items()
                if RUN not in text and not NOT_RUN.search(text)]
    assert {page.stem for page, text in said.items() if RUN in text} == {
        'tutorial', 'fine-tuning', 'leaving-mxnet'}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_code_fits_the_width_of_a_page(page):
    """No block scrolls sideways on GitHub."""
    text = page.read_text(encoding='utf-8')
    blocks = re.findall(r'^```\w*\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [line for line in re.findall('^    (.*)', text, re.MULTILINE) if line not in lines]
    assert not [line for line in lines if len(line) > 105]


def test_commands_are_parsed(monkeypatch, capsys):
    """Each by the parser it is written for; what a page leaves out with … is not."""
    original = argparse.ArgumentParser.parse_known_args

    def parse(*rest, **named):
        raise Stop(original(*rest, **named)[1])

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_known_args', parse)
    targets = re.findall('^([a-z]+):', (ROOT / 'Makefile').read_text(encoding='utf-8'), re.M)
    for page, program, words in COMMANDS:
        if program == 'make':
            assert words[0] in targets, f'{page.name}: make {words[0]}'
        elif program.startswith(('scripts/', 'gluon-a2')) and words and '…' not in ' '.join(words):
            name, *words = [Path(program).stem, *words] if program != 'gluon-a2' else words
            module = 'visualize' if name == 'visualize_attention' else name.replace('-', '_')
            main = importlib.import_module(f'gluon_a2.commands.{module}').main
            try:
                main(words)
            except Stop as stopped:
                unknown, = stopped.args
                assert not unknown, f'{page.name}: {program} takes no {unknown}'
            except SystemExit:
                pytest.fail(f'{page.name}: {program} {words}: {capsys.readouterr().err}')


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
