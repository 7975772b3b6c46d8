"""docs/tutorial.md from top to bottom: its Python in one process, and its commands where they
stand."""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs' / 'tutorial.md').read_text(encoding='utf-8')

COMMAND = '''
import subprocess as _subprocess
_done = _subprocess.run({command!r}, shell=True, stdout=_subprocess.PIPE, encoding='utf-8')
assert _done.returncode == 0, {command!r}
assert {shown!r} in ('', _done.stdout), _done.stdout
'''


def blocks():
    """(language, text) of the page's code blocks."""
    return re.findall(r'```(\w+)\n(.*?)```', PAGE, re.DOTALL)


def program():
    """The page as one program: a command becomes a process, held to what the page shows of its
    output."""
    for language, text in blocks():
        if language == 'python':
            yield text
            continue
        for part in re.split(r'^\$ ', text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition('\n')
            yield COMMAND.format(command=command, shown=shown)


def test_every_block_is_run():
    assert {language for language, _ in blocks()} == {'python', 'console'}
    assert PAGE.count('```') == 2 * len(blocks())


def test_the_page_works_from_top_to_bottom(tmp_path):
    for name in ('scripts', 'docs'):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, '-c', '\n'.join(program())], cwd=str(tmp_path), capture_output=True,
        text=True, timeout=400, env={
            **os.environ, 'PYTHONPATH': str(ROOT),
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
        })
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[0] == '(2, 10)' and 'epoch 3' in done.stdout
    assert re.search(r'(\d+\.\d) % of 100 held-out images', done.stdout)
    assert "'digit 3'" in said[-1]
    assert (tmp_path / 'attention' / 'page.html').exists()
