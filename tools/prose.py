#!/usr/bin/env python3
"""How long the sentences of the documentation are, and which words in them only we understand.

    python tools/prose.py                 # README, CONTRIBUTING, SECURITY and docs/, a row each
    python tools/prose.py README.md -v    # and the sentences that are too long

Nine sentences of ten should have 25 words at most. Code, tables, pictures and headings are left
out; the target of a link does not count, and a piece of code in a sentence is one word. PRIVATE are
words that a reader would have to guess.
"""
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


def measure(path):
    """(words, sentences, words a sentence, share of those that are short enough, the long ones)."""
    found = sentences(Path(path).read_text(encoding='utf-8'))
    long = [words for words in found if len(words) > LONGEST]
    words = sum(map(len, found))
    return words, len(found), words / max(1, len(found)), 1 - len(long) / max(1, len(found)), long


def private(path):
    """The private words of a page, tables and headings included."""
    text = re.sub(r'```.*?```|`[^`]*`', '', Path(path).read_text(encoding='utf-8'), flags=re.DOTALL)
    return sorted(PRIVATE.intersection(re.findall(r'\w+', text.lower())))


@entry
def main(argv=None):
    """Measure, print, and fail where too many are too long."""
    flags = parser(__doc__)
    flags.add_argument('pages', nargs='*', type=Path, default=PAGES)
    flags.add_argument('-v', '--verbose', action='store_true', help='print the long sentences')
    args = flags.parse_args(argv)
    rows = [('page', 'words', 'sentences', 'words a sentence', f'up to {LONGEST}')]
    bad, words_of_ours = [], []
    for path in args.pages:
        words, count, mean, share, long = measure(path)
        rows.append((path.name, words, count, f'{mean:.1f}', f'{100 * share:.0f} %'))
        bad += [path.name] if share < SHARE else []
        words_of_ours += [f'{path.name}: {word}' for word in private(path)]
        if args.verbose:
            print('\n'.join(f'{path.name}: {" ".join(words)}' for words in long))
    show_table(rows)
    if bad:
        raise UserError(f'too many sentences of more than {LONGEST} words in {", ".join(bad)}: '
                        'split them (-v prints them)')
    if words_of_ours:
        raise UserError(f'private words: {", ".join(words_of_ours)}')


if __name__ == '__main__':
    sys.exit(main())
