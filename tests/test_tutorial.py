"""The pages that are read with a shell open, from top to bottom: their Python in one process, and
their commands where they stand."""
import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {name: (ROOT / 'docs' / f'{name}.md').read_text(encoding='utf-8')
         for name in ('tutorial', 'fine-tuning', 'leaving-mxnet')}

COMMAND = '''
import subprocess as _subprocess
_done = _subprocess.run({command!r}, shell=True, stdout=_subprocess.PIPE, encoding='utf-8')
assert _done.returncode == 0, {command!r}
assert {shown!r} in ('', _done.stdout), _done.stdout
'''


def blocks(page):
    """(language, text) of the page's code blocks."""
    return re.findall(r'```(\w+)\n(.*?)```', PAGES[page], re.DOTALL)


def program(page):
    """The page as one program: a command becomes a process, held to what the page shows of its
    output."""
    for language, text in blocks(page):
        if language == 'python':
            yield text
            continue
        for part in re.split(r'^\$ ', text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.replace('\\\n', '').partition('\n')
            yield COMMAND.format(command=command, shown=shown)


def run(page, folder):
    """What the page prints, run in `folder`."""
    for name in ('scripts', 'docs'):
        (folder / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, '-c', '\n'.join(program(page))], cwd=str(folder), capture_output=True,
        text=True, timeout=400, env={
            **os.environ, 'PYTHONPATH': str(ROOT),
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
        })
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize('page', PAGES)
def test_every_block_is_run(page):
    assert {language for language, _ in blocks(page)} == {'python', 'console'}
    assert PAGES[page].count('```') == 2 * len(blocks(page))


def test_the_tutorial_works_from_top_to_bottom(tmp_path):
    printed = run('tutorial', tmp_path)
    said = printed.splitlines()
    assert said[0] == '(2, 10)' and 'epoch 5' in printed
    assert re.search(r'(\d+\.\d) % of 100 held-out images', printed)
    assert "'digit 3'" in said[-1]
    assert (tmp_path / 'attention' / 'page.html').exists()


def test_fine_tuning_works_from_top_to_bottom(tmp_path):
    run('fine-tuning', tmp_path)
    log = (tmp_path / 'runs' / 'mine' / 'train.log').read_text()
    assert 'classifier starts anew: 10 → 4 classes' in log
    assert 'blocks start anew, as identities' in log
    with open(tmp_path / 'scores' / 'samples.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    right = sum(row['outcome'] == 'right' for row in rows)
    assert len(rows) == 40 and right > 20, right


def test_leaving_mxnet_works_from_top_to_bottom(tmp_path):
    pytest.importorskip('torch')
    run('leaving-mxnet', tmp_path)
    for name in ('net.safetensors', 'a2_torch.py', 'trained.onnx', 'small.onnx', 'theirs.onnx'):
        assert (tmp_path / 'exported' / name).exists()
