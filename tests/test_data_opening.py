"""From what a user names to a source."""
import pytest
from test_data_sources import make_folder, write_records

from gluon_a2 import data
from gluon_a2.data.opening import EMBEDDED, embedded_name, open_source
from gluon_a2.errors import UserError


def test_open_source(tmp_path):
    write_records(tmp_path / 'val.rec', [0])
    make_folder(tmp_path / 'train')
    assert isinstance(open_source(tmp_path, 'train'), data.FolderSource)
    assert isinstance(open_source(tmp_path, 'val'), data.RecordSource)
    assert isinstance(open_source(tmp_path / 'val.rec', 'train'), data.RecordSource)
    with pytest.raises(UserError, match=f"in '{tmp_path}': it holds none of test.rec, test;"):
        open_source(tmp_path, 'test')


def test_a_record_file_by_itself(tmp_path):
    path = write_records(tmp_path / 'images.bin.rec', [0, 1])
    assert len(open_source(None, 'val', rec=path, idx=tmp_path / 'images.bin.idx')) == 2


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no train data in '.': it holds none of train.rec, "):
        open_source('', 'train')


def test_nothing_named_is_the_embedded_set(monkeypatch, tmp_path):
    write_records(tmp_path / 'val.rec', [0, 1, 2])
    monkeypatch.setitem(EMBEDDED, 'digits', lambda: str(tmp_path))
    assert embedded_name(video=False) == 'digits' and len(open_source(None, 'val')) == 3
    monkeypatch.setitem(EMBEDDED, 'cued digits, far', lambda: str(tmp_path))
    assert len(open_source(None, 'val', embedded='cued digits, far')) == 3
    (tmp_path / 'val' / 'up').mkdir(parents=True)
    (tmp_path / 'val' / 'up' / 'a.mp4').touch()
    monkeypatch.setitem(EMBEDDED, 'moving digits', lambda: str(tmp_path))
    assert isinstance(open_source(None, 'val', video=True), data.VideoSource)
