"""Folders and record files behind one interface, and the sentences their mistakes get."""
import os
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from loading import LENDS, WITH_TOSTRING

from gluon_a2.backend import mx
from gluon_a2.data import FolderSource, ImageError, RecordError, RecordSource, RecordWriter, decode
from gluon_a2.errors import UserError

IM2REC = os.path.join(os.path.dirname(mx.__file__), 'tools', 'im2rec.py')


def picture(value):
    return cv2.imencode('.png', np.full((5, 7, 3), value, np.uint8))[1].tobytes()


def make_folder(root):
    """Three classes; the value of its pixels tells an image."""
    names = ['b/1.png', 'b/2 with space.PNG', 'a/é.jpeg', 'B/x.webp', 'b/notes.txt', '.git/1.png']
    for value, name in enumerate(names):
        path = root / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(picture(value))
    (root / 'README').write_text('not a class')
    return root


def write_records(path, labels):
    with RecordWriter(path) as writer:
        for value, label in enumerate(labels):
            writer.write(picture(value), label, key=value + 10, name=f'{value}.png')
    return path


def values(source):
    return [int(decode(source.read(i))[2, 3, 1]) for i in range(len(source))]


def test_folder(tmp_path):
    source = FolderSource(make_folder(tmp_path))
    assert source.classes == ('B', 'a', 'b')
    assert source.labels.dtype == np.int64 and source.labels.tolist() == [0, 1, 2, 2]
    assert len(source) == 4
    assert values(source) == [3, 2, 0, 1]
    assert source.name(3) == str(tmp_path / 'b' / '2 with space.PNG')
    copy = pickle.loads(pickle.dumps(source))
    assert values(copy) == [3, 2, 0, 1]


def test_every_ending_that_opencv_reads_and_none(tmp_path, caplog):
    endings = ['JPG', 'jpeg', 'jpe', 'jfif', 'png', 'bmp', 'webp', 'tif', 'tiff', 'ppm', 'pgm']
    (tmp_path / 'a').mkdir()
    for name in [*(f'x.{ending}' for ending in endings), 'none', 'x.gif', 'x.txt']:
        (tmp_path / 'a' / name).write_bytes(picture(3))
    (tmp_path / 'a' / 'text').write_text('none, and no image')
    source = FolderSource(tmp_path)
    assert sorted(map(source.relative, range(len(source)))) == sorted(
        [f'a/x.{ending}' for ending in endings] + ['a/none'])
    assert 'left out what is no image directly in a class folder, 3 in all' in caplog.text
    assert 'a/x.gif' in caplog.text


def test_a_file_name_that_is_not_utf_8_is_read_and_escaped(tmp_path):
    folder = make_folder(tmp_path / 'set')
    os.rename(folder / 'b' / '1.png', os.fsencode(folder) + b'/b/1\xe9.png')
    source = FolderSource(folder)
    assert values(source) == [3, 2, 0, 1]
    assert source.name(2) == f'{folder}/b/1\\xe9.png'


def test_folder_file_that_vanished(tmp_path):
    source = FolderSource(make_folder(tmp_path))
    os.remove(source.name(1))
    with pytest.raises(ImageError, match='No such file'):
        source.read(1)


@pytest.mark.parametrize(('spoil', 'message'), [
    (lambda root: (root / 'empty').mkdir(), 'empty holds no images'),
    (lambda root: [os.rename(root / name, root / ('.' + name)) for name in 'aBb'],
     'holds no class folders'),
])
def test_bad_folder(tmp_path, spoil, message):
    spoil(make_folder(tmp_path))
    with pytest.raises(UserError, match=message):
        FolderSource(tmp_path)


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match='cannot list the folder .*nowhere: No such file'):
        FolderSource(tmp_path / 'nowhere')


@pytest.mark.parametrize('listed', [True, False])
def test_records(tmp_path, listed):
    path = write_records(tmp_path / 'train.rec', [2, 0, 1, 2])
    if not listed:
        os.remove(tmp_path / 'train.lst')
    source = RecordSource(path)
    assert source.labels.dtype == np.int64 and source.labels.tolist() == [2, 0, 1, 2]
    assert len(source) == 4
    assert source.classes == ('0', '1', '2')
    assert values(pickle.loads(pickle.dumps(source))) == [0, 1, 2, 3]
    assert source.name(1) == f'{path}#11'
    (tmp_path / 'classes.txt').write_text('tench\nhammer head\nüber\n', 'utf-8')
    assert RecordSource(path).classes == ('tench', 'hammer head', 'über')
    assert RecordSource(path).named and not source.named


def test_labels_of_a_record_cut_in_its_header(tmp_path):
    """A key equal to the magic word puts a cut inside the header."""
    with RecordWriter(tmp_path / 'a.rec') as writer:
        writer.write(picture(9), 3, key=0xced7230a)
    os.remove(tmp_path / 'a.lst')
    source = RecordSource(tmp_path / 'a.rec')
    assert source.labels.tolist() == [3] and values(source) == [9]


def test_stale_list_is_noticed_at_the_record(tmp_path):
    path = write_records(tmp_path / 'a.rec', [2, 0])
    (tmp_path / 'a.lst').write_text('10\t2.0\tx\n11\t1.0\ty\n')
    source = RecordSource(path)
    assert decode(source.read(0))[0, 0, 0] == 0
    with pytest.raises(ImageError, match=r'label \(0.0,\) is not the 1 listed in .*a.lst'):
        source.read(1)


def test_a_list_with_a_byte_order_mark_is_read(tmp_path):
    path = write_records(tmp_path / 'a.rec', [2, 0])
    (tmp_path / 'a.lst').write_bytes(b'\xef\xbb\xbf10\t2\tx\r\n11\t5\ty\r\n')
    assert RecordSource(path).labels.tolist() == [2, 5]


@pytest.mark.parametrize('text', [
    '', 'nonsense', '10\t2\tx\n', '10\t1.5\tx\n11\t0\ty\n', '10\t1\t2\tx\n11\t0\t1\ty\n'])
def test_unusable_list_is_passed_over(tmp_path, text):
    path = write_records(tmp_path / 'a.rec', [2, 0])
    (tmp_path / 'a.lst').write_text(text)
    assert RecordSource(path).labels.tolist() == [2, 0]


@pytest.mark.parametrize('label', [1.5, float('nan'), float('inf'), 1e30, [1., 2.]])
def test_label_that_is_none(tmp_path, label):
    path = write_records(tmp_path / 'a.rec', [0, label])
    with pytest.raises(RecordError, match=r'a.rec#11 must have one whole number as its label'):
        RecordSource(path).labels  # noqa: B018


def test_damaged_header_spoils_one_sample_only(tmp_path):
    path = write_records(tmp_path / 'a.rec', [1, 2, 1])
    os.remove(tmp_path / 'a.lst')
    second = int((tmp_path / 'a.idx').read_text().split()[3])
    with open(path, 'r+b') as file:
        file.seek(second)
        file.write(bytes(8))
    source = RecordSource(path)
    assert source.labels.tolist()[::2] == [1, 1]
    with pytest.raises(ImageError):
        source.read(1)


@pytest.mark.parametrize('options', [
    ['--pass-through'],
    pytest.param(['--encoding', '.png', '--num-thread', '2'], marks=WITH_TOSTRING),
    pytest.param(['--pass-through', '--pack-label'], marks=WITH_TOSTRING)])
def test_im2rec_files(tmp_path, options):
    """What MXNet's own tool writes from a folder, shuffled, is what we read from the folder."""
    folder, prefix = make_folder(tmp_path / 'images'), str(tmp_path / 'x')
    (folder / '.git' / '1.png').unlink()
    (folder / 'B' / 'x.webp').rename(folder / 'B' / 'x.png')
    for arguments in (['--list', '--recursive'], options):
        subprocess.run([sys.executable, IM2REC, *arguments, prefix, str(folder)], check=True,
                       capture_output=True, env={**os.environ, 'PYTHONPATH': LENDS})
    records, images = RecordSource(prefix + '.rec'), FolderSource(folder)
    assert sorted(zip(values(records), records.labels)) == sorted(zip(values(images),
                                                                      images.labels))
    os.remove(prefix + '.lst')
    assert RecordSource(prefix + '.rec').labels.tolist() == records.labels.tolist()
    os.remove(prefix + '.idx')
    assert values(RecordSource(prefix + '.rec')) == values(records)
