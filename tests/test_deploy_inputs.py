import os

import pytest

from gluon_a2.deploy.inputs import expand
from gluon_a2.errors import UserError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ('b.JPG', 'a.png', '.hidden.png', 'notes.txt', 'deep/er/c.webp', 'clip.mp4',
                 'deep/d.avi', 'deep/frames/img_00001.jpg', 'deep/frames/img_00002.jpg',
                 'odd[1].png'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('words, videos, expected', [
    # a missing file is told when it is read
    (['a.png', 'missing.png'], False, ['a.png', 'missing.png']),
    (['.'], False, ['./a.png', './b.JPG', './deep/er/c.webp', './deep/frames/img_00001.jpg',
                    './deep/frames/img_00002.jpg', './odd[1].png']),
    (['*.*'], False, ['a.png', 'b.JPG', 'odd[1].png']), (['**/*.webp', 'a.png'], False, ['deep/er/c.webp', 'a.png']),
    (['odd[1].png'], False, ['odd[1].png']),
    (['.'], True, ['./clip.mp4', './deep/d.avi', './deep/frames']), (['deep/frames'], True, ['deep/frames']),
    (['deep/*'], True, ['deep/d.avi', 'deep/frames'])])
def test_files_folders_and_patterns(tree, words, videos, expected):
    assert expand(words, videos) == [path.replace('/', os.sep) for path in expected]


@pytest.mark.parametrize('word, videos, sentence', [
    ('deep/er', True, 'deep/er holds no videos .*: name other files'),
    ('*.gif', False, r'\*.gif holds no images \(.jpg .jpeg'), ('*.txt', False, 'holds no images')])
def test_nothing_of_the_kind(tree, word, videos, sentence):
    with pytest.raises(UserError, match=sentence):
        expand([word], videos)
