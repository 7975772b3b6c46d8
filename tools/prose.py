#!/usr/bin/env python3
"""How long the sentences are that we write, and which words in them only we understand.

    python tools/prose.py                       # every page, and every folder of programs
    python tools/prose.py README.md proofs -v   # and the sentences that are too long

Nine sentences of ten should have 25 words at most. Of a page, code, tables, pictures and headings
are left out; the target of a link does not count, and a piece of code in a sentence is one word. Of
a program, its docstrings and its messages are measured. Messages are all other strings of several
words and less than four lines, and a value in one is a word. PRIVATE are words that a reader would
have to guess.
"""
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gluon_a2.cli import entry, parser, show_table  # noqa: E402
from gluon_a2.errors import UserError  # noqa: E402

LONGEST, SHARE = 25, 0.9
PRIVATE = {'bag', 'complaint', 'complaints', 'fence', 'fences', 'lend', 'lends', 'lent', 'mend',
           'mended', 'mends', 'nought', 'rival', 'rivals', 'told'}
PAGES = [*(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md')),
         *sorted((ROOT / 'docs').glob('*.md'))]
PROGRAMS = sorted({path.parent for folder in ('gluon_a2', 'benchmarks', 'proofs', 'tools', 'docs')
                   for path in (ROOT / folder).rglob('*.py')})


def sentences(text):
    """The sentences of a page of Markdown, each a list of words."""
    text = re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r'^(\||#|!\[|    ).*$', '', text, flags=re.MULTILINE)
    text = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', text)
    text = re.sub(r'`[^`]*`', 'code', text)
    text = re.sub(r'^\s*(-|\d+\.) ', '\n\n', text, flags=re.MULTILINE)
    found = []
    for paragraph in re.split(r'\n\s*\n', text):
        for one in re.split(r'(?<=[.!?:])\**\)?\s+(?=[A-Z*0-9(]|code)', paragraph):
            words = re.findall(r'[\w’\'.-]*\w[\w’\'.-]*', one)
            if len(words) > 2:
                found.append(words)
    return found


def prose_of(docstring):
    """A docstring in numpydoc's form as a page: a paragraph for each parameter, no examples."""
    top, *sections = re.split(r'^(?=\w+\n---+$)', docstring, flags=re.MULTILINE)
    rest = ''.join(part for part in sections if not part.startswith('Examples'))
    return top + re.sub(r'^    ', '', re.sub(r'^\S.*$', '', rest, flags=re.MULTILINE),
                        flags=re.MULTILINE)


def strings(path):
    """(docstrings, messages) of a program, as texts of pages."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding='utf-8'))))
    docs = {id(node.body[0].value): re.sub(f'^ {{{node.body[0].col_offset}}}', '',
                                           node.body[0].value.value, flags=re.MULTILINE)
            for node in nodes if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node) is not None}
    joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    inside = {id(part) for node in joined for part in ast.walk(node)}
    plain = [node.value for node in nodes if isinstance(node, ast.Constant)
             and isinstance(node.value, str) and id(node) not in inside and id(node) not in docs]
    messages = plain + [''.join(part.value if isinstance(part, ast.Constant) else 'value'
                                for part in node.values) for node in joined]
    return [prose_of(text) for text in docs.values()], [
        text for text in messages if ' ' in text and text.count('\n') < 3]


def texts(path):
    """{what: its texts} of a page, or of a folder of programs."""
    name = path.resolve().relative_to(ROOT) if ROOT in path.resolve().parents else path
    if path.is_file():
        return {str(name): [path.read_text(encoding='utf-8')]}
    said = list(map(strings, sorted(path.glob('*.py'))))
    return {f'{name}: docstrings': sum((docstrings for docstrings, _ in said), []),
            f'{name}: messages': sum((messages for _, messages in said), [])}


def measure(pages):
    """(words, sentences, words a sentence, share of those that are short enough, the long ones)."""
    found = [words for text in pages for words in sentences(text)]
    long = [words for words in found if len(words) > LONGEST]
    words = sum(map(len, found))
    return words, len(found), words / max(1, len(found)), 1 - len(long) / max(1, len(found)), long


def private(pages):
    """The private words of texts, tables and headings included."""
    text = re.sub(r'```.*?```|`[^`]*`', '', '\n'.join(pages), flags=re.DOTALL)
    return sorted(PRIVATE.intersection(re.findall(r'\w+', text.lower())))


@entry
def main(argv=None):
    """Measure, print, and fail where too many are too long."""
    flags = parser(__doc__)
    flags.add_argument('pages', nargs='*', type=Path, default=[*PAGES, *PROGRAMS],
                       help='pages, and folders of programs')
    flags.add_argument('-v', '--verbose', action='store_true', help='print the long sentences')
    args = flags.parse_args(argv)
    found = {name: pages for path in args.pages for name, pages in texts(path).items()}
    measured = {name: measure(pages) for name, pages in found.items()}
    if args.verbose:
        print('\n'.join(f'{name}: {" ".join(words)}' for name, (*_, long) in measured.items()
                        for words in long))
    everything = {**measured, 'all': measure(sum(found.values(), []))}
    show_table([('page', 'words', 'sentences', 'words a sentence', f'up to {LONGEST}'),
                *((name, words, count, f'{mean:.1f}', f'{100 * share:.0f} %')
                  for name, (words, count, mean, share, _) in everything.items())])
    bad = [name for name, (*_, share, _) in measured.items() if share < SHARE]
    words_of_ours = [f'{name}: {word}' for name, pages in found.items() for word in private(pages)]
    if bad:
        raise UserError(f'too many sentences of more than {LONGEST} words in {", ".join(bad)}: '
                        'split them (-v prints them)')
    if words_of_ours:
        raise UserError(f'private words: {", ".join(words_of_ours)}')


if __name__ == '__main__':
    sys.exit(main())
