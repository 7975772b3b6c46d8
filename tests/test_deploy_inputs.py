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
    (['*.*'], False, ['a.png', 'b.JPG', 'odd[1].png']),
    (['**/*.webp', 'a.png'], False, ['deep/er/c.webp', 'a.png']),
    (['odd[1].png'], False, ['odd[1].png']),
    (['.'], True, ['./clip.mp4', './deep/d.avi', './deep/frames']),
    (['deep/frames'], True, ['deep/frames']),
    (['deep/*'], True, ['deep/d.avi', 'deep/frames'])])
def test_files_folders_and_patterns(tree, words, videos, expected):
    assert expand(words, videos) == [path.replace('/', os.sep) for path in expected]


def test_hidden_files_links_and_what_is_left_out(tree, tmp_path, caplog):
    """As every reader of data has it: no ._a.png, links followed once, other files counted."""
    (tmp_path / 'deep' / '._d.png').touch()
    (tmp_path / 'deep' / '.cache').mkdir()
    (tmp_path / 'deep' / '.cache' / 'e.png').touch()
    (tmp_path / 'linked').mkdir()
    (tmp_path / 'linked' / 'to').symlink_to(tmp_path / 'deep' / 'er')
    (tmp_path / 'linked' / 'loop').symlink_to(tmp_path / 'linked')
    (tmp_path / 'linked' / 'notes.md').touch()
    assert expand(['linked']) == ['linked/to/c.webp']
    assert 'linked: left out what is no image, 1 in all: linked/notes.md' in caplog.text
    assert expand(['deep/er', 'deep']) == ['deep/er/c.webp', 'deep/er/c.webp',
                                           'deep/frames/img_00001.jpg', 'deep/frames/img_00002.jpg']


@pytest.mark.parametrize('word, videos, sentence', [
    ('deep/er', True, 'deep/er holds no videos .*: name other files'),
    ('*.gif', False, r'\*.gif holds no images \(.jpg .jpeg'), ('*.txt', False, 'holds no images')])
def test_nothing_of_the_kind(tree, word, videos, sentence):
    with pytest.raises(UserError, match=sentence):
        expand([word], videos)
