import errno
import hashlib
import os

import pytest
from loading import load

from gluon_a2 import files
from gluon_a2.errors import UserError


def test_writes_and_replaces(tmp_path):
    path = tmp_path / 'deep' / 'file'
    files.write_whole(path, b'one')
    files.write_whole(path, b'two')
    assert path.read_bytes() == b'two'
    assert os.listdir(path.parent) == ['file']


@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / 'file'
    files.write_whole(path, b'old')

    def fail(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match='No space left') as error:
        files.write_whole(path, b'new')
    assert (error.value.filename, error.value.filename2) == (str(path), None)  # no temporary name
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('call', ['fsync', 'open'])
def test_the_folder_that_cannot_be_synced_is_named(tmp_path, monkeypatch, call):
    def fail(*args):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match='Input/output error') as error:
        files.sync_folder(tmp_path)
    assert error.value.filename == str(tmp_path)


def test_a_disk_that_drops_bytes_and_says_nothing_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(files, 'open', lambda path, mode: Forgetful(path, mode), raising=False)
    with pytest.raises(OSError, match='only 2 of 4 bytes were written') as error:
        files.write_synced(tmp_path / 'file', b'four')
    assert error.value.filename == str(tmp_path / 'file')


class Forgetful:
    def __init__(self, path, mode):
        self._file = open(path, mode)  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, content):
        self._file.write(content[:len(content) // 2])
        return len(content)


def test_a_table_makes_no_folder_of_a_typing_error(tmp_path):
    with pytest.raises(UserError, match=r'x.csv cannot be written: there is no folder .*tyop'):
        files.write_csv(tmp_path / 'tyop' / 'x.csv', [('a',), (1,)])
    assert not list(tmp_path.iterdir())
    files.write_csv(tmp_path / 'x.csv', [('a', 'b\udce9'), (1, 'c,d')])
    assert (tmp_path / 'x.csv').read_bytes() == b'a,b\xe9\r\n1,"c,d"\r\n'


@pytest.mark.parametrize('script, args', [
    ('count_cost.py', ['resnet26', '--csv']), ('prepare_video.py', ['--data-dir', '.', '--report']),
    ('export.py', ['resnet26', '--untrained', '--int8', '--csv'])])
def test_scripts_ask_for_the_folder_before_they_work(capsys, script, args):
    with pytest.raises(SystemExit) as stopped:
        load(f'scripts/{script}').main([*args, 'tyop/x.csv'])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == ('error: tyop/x.csv cannot be written: there is no folder '
                                       'tyop; make it, or correct the name\n')


def test_sha256():
    assert files.sha256(b'abc') == hashlib.sha256(b'abc').hexdigest()
