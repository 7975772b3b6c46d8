import os
import pwd

import pytest

from gluon_a2.data.cache import cache_folder, made_once
from gluon_a2.errors import UserError


def write(folder):
    with open(os.path.join(folder, 'file'), 'w') as file:
        file.write('content')


def test_it_is_made_the_first_time_only(tmp_path):
    calls = []
    for _ in range(2):
        folder = made_once('thing', lambda draft: (calls.append(draft), write(draft)), tmp_path)
    assert folder == str(tmp_path / 'thing')
    assert (tmp_path / 'thing' / 'file').read_text() == 'content'
    assert len(calls) == 1 and os.listdir(tmp_path) == ['thing']


def test_half_of_it_is_never_seen(tmp_path):
    def fail(draft):
        write(draft)
        raise OSError('the disk is gone')
    with pytest.raises(OSError, match='gone'):
        made_once('thing', fail, tmp_path)
    assert os.listdir(tmp_path) == []


def test_who_is_second_takes_what_the_first_made(tmp_path):
    def slow(draft):
        write(draft)
        made_once('thing', write, tmp_path)  # another process, faster

    assert os.listdir(made_once('thing', slow, tmp_path)) == ['file']
    assert os.listdir(tmp_path) == ['thing']


def test_what_is_not_whole_is_refused(tmp_path):
    def count(folder, part):
        return len(os.listdir(folder)) if part == 'train' else 0

    made_once('thing', write, tmp_path, {'train': 1, 'val': 0}, count)
    with pytest.raises(UserError, match='thing holds 1 instead of 2 train samples: remove it'):
        made_once('thing', write, tmp_path, {'train': 2}, count)


def test_where_it_is(monkeypatch):
    monkeypatch.setenv('GLUON_A2_CACHE', '/somewhere')
    assert cache_folder() == '/somewhere'
    monkeypatch.delenv('GLUON_A2_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', '/caches')
    assert cache_folder() == '/caches/gluon_a2'
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert cache_folder() == os.path.expanduser('~/.cache/gluon_a2')


def test_a_user_without_a_home_is_asked_for_a_folder(monkeypatch):
    def nobody(number):
        raise KeyError(number)

    for name in ('GLUON_A2_CACHE', 'XDG_CACHE_HOME', 'HOME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, 'getpwuid', nobody)
    with pytest.raises(UserError, match='no home folder .*: set GLUON_A2_CACHE to'):
        cache_folder()


def test_a_cache_that_cannot_be_written_names_the_way_out(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=r'file/x cannot be written \(Not a directory\): set '):
        made_once('thing', write, str(tmp_path / 'file' / 'x'))
