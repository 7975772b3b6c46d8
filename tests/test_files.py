import errno
import hashlib
import os

import pytest

from gluon_a2 import files


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
    with pytest.raises(OSError, match='No space left'):
        files.write_whole(path, b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


def test_sha256():
    assert files.sha256(b'abc') == hashlib.sha256(b'abc').hexdigest()
