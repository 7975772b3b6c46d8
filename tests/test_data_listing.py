"""Folders and lists: what is taken, what is left out and named, what is refused."""
import os

import pytest

from gluon_a2.data.classes import open_text, printable
from gluon_a2.data.listing import class_folders, files_below
from gluon_a2.errors import UserError


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(root)


def is_image(entry):
    return entry.name.endswith('.jpg') and not entry.is_dir()


def test_class_folders_in_alphabetical_order(tmp_path, caplog):
    folder = make(tmp_path, '10/a.jpg', '2/b.jpg', '2/a.jpg', 'B/x.jpg', '.git/x.jpg', '2/.a.jpg',
                  '2/._b.jpg', 'README')
    assert class_folders(folder, is_image, 'images') == (
        ('10', '2', 'B'), [['10/a.jpg'], ['2/a.jpg', '2/b.jpg'], ['B/x.jpg']])
    assert caplog.text == ''


def test_what_is_left_out_is_counted_and_named(tmp_path, caplog):
    folder = make(tmp_path, 'a/1.jpg', 'a/notes.txt', 'a/more/2.jpg', 'b/3.jpg', '4.jpg', 'README')
    class_folders(folder, is_image, 'images')
    assert (f'left out what is no image directly in a class folder, 3 in all: {folder}/4.jpg, '
            f'{folder}/a/more, {folder}/a/notes.txt') in caplog.text


@pytest.mark.parametrize(('names', 'sentence'), [
    ([], 'holds no class folders: images belong into .*/<class>/'),
    (['1.jpg', '2.jpg'], 'holds no class folders, but 2 images without a class'),
    (['a/1.jpg', 'b/notes.txt'], 'the class folder .*/b holds no images: fill or remove it')])
def test_no_class_folders(tmp_path, names, sentence):
    with pytest.raises(UserError, match=sentence):
        class_folders(make(tmp_path, *names), is_image, 'images')


def test_a_class_that_is_a_link_to_nothing(tmp_path):
    folder = make(tmp_path / 'set', 'a/1.jpg')
    os.symlink('nowhere', os.path.join(folder, 'b'))
    with pytest.raises(UserError, match='set/b is a link to nothing: restore'):
        class_folders(folder, is_image, 'images')


def test_linked_classes_and_files_are_followed(tmp_path):
    make(tmp_path, 'elsewhere/1.jpg', 'set/a/2.jpg')
    os.symlink('../elsewhere', tmp_path / 'set/b')
    os.symlink('../../elsewhere/1.jpg', tmp_path / 'set/a/0.jpg')
    os.symlink('nowhere.jpg', tmp_path / 'set/a/9.jpg')  # a damaged sample, not a missing one
    assert class_folders(str(tmp_path / 'set'), is_image, 'images') == (
        ('a', 'b'), [['a/0.jpg', 'a/2.jpg', 'a/9.jpg'], ['b/1.jpg']])


def test_files_below_and_their_loops(tmp_path):
    folder = make(tmp_path / 'set', 'b/1.jpg', 'a.jpg', '.b/1.jpg', 'b/._1.jpg')
    os.symlink('..', tmp_path / 'set/b/up')  # back into a folder that is being listed
    os.symlink('b', tmp_path / 'set/c')  # the same folder again
    os.symlink('nowhere', tmp_path / 'set/d')
    assert [os.path.relpath(path, folder) for path in files_below(folder)] == [
        'a.jpg', 'b/1.jpg', 'c/1.jpg', 'd']
    with pytest.raises(UserError, match='cannot list the folder .*nothing: No such file'):
        list(files_below(str(tmp_path / 'nothing')))


def test_text_with_a_byte_order_mark(tmp_path):
    path = tmp_path / 'list'
    path.write_bytes(b'\xef\xbb\xbfa.mp4 0\ncaf\xe9 1\n')
    with open_text(path) as file:
        assert file.read() == 'a.mp4 0\ncaf\udce9 1\n'
    with pytest.raises(UserError, match='nothing cannot be read: No such file'):
        open_text(tmp_path / 'nothing')


def test_paths_can_be_printed():
    assert printable(os.fsdecode(b'caf\xe9/\xc3\xbc')) == 'caf\\xe9/ü'
