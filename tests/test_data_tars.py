"""Images inside tar files are those that extraction would give; damage is found, not read."""
import io
import os
import tarfile

import pytest
import tiny_imagenet
from hypothesis import given
from hypothesis import strategies as st
from tiny_imagenet import WNIDS, class_tar, pack, picture, train_tar, val_tar, write

from gluon_a2.data import ImageError
from gluon_a2.data.tars import class_tars, flat_tar
from gluon_a2.errors import UserError

FORMS = {'ustar': tarfile.USTAR_FORMAT, 'gnu': tarfile.GNU_FORMAT, 'pax': tarfile.PAX_FORMAT}


@pytest.mark.parametrize('form', FORMS)
def test_members_lie_where_tarfile_finds_them(tmp_path, form):
    path = tmp_path / 'x.tar'
    deep = f'./folder/{"x" * (90 if form == "ustar" else 200)}/é.JPEG'
    write(path, pack([(deep, b'1234'), ('b.jpg', b'x' * 512), ('.hidden.jpg', b'-'), ('a.PNG', b''),
                      ('notes.txt', b'text')], format=FORMS[form]))
    found = flat_tar(str(path))
    assert [os.path.basename(member.name) for member in found] == ['a.PNG', 'b.jpg', 'é.JPEG']
    with tarfile.open(path) as tar:
        for member in found:
            whole = path.read_bytes()[member.start:member.start + member.size]
            assert whole == tar.extractfile(member.name).read()


def test_what_is_no_image_is_left_out_and_named(tmp_path, caplog):
    write(tmp_path / 'x.tar', pack([('a.JPEG', b'1'), ('notes.txt', b'2'), ('._a.JPEG', b'3')]))
    assert len(flat_tar(str(tmp_path / 'x.tar'))) == 1
    assert 'x.tar: left out what is no image, 1 in all: notes.txt' in caplog.text
    caplog.clear()
    write(tmp_path / 'train.tar', pack([('README', b''), ('n1.tar', pack([('b', b''), ('c.jpg',
                                                                                         b'')]))]))
    assert class_tars(str(tmp_path / 'train.tar')).relative(0) == 'n1/c.jpg'
    assert 'train.tar: left out what is no image, 2 in all: README, b' in caplog.text


def test_of_a_file_that_was_added_again_the_last_one_counts(tmp_path):
    path = tmp_path / 'x.tar'
    write(path, pack([('a.JPEG', b'old'), ('b.JPEG', b'b'), ('a.JPEG', b'newer')]))
    assert [member.size for member in flat_tar(str(path))] == [5, 1]


def test_an_image_that_has_vanished_has_a_reason(tmp_path):
    write(tmp_path / 'train.tar', train_tar())
    source = class_tars(str(tmp_path / 'train.tar'))
    assert source.read(0) == picture('n01440764_18.JPEG')
    os.remove(tmp_path / 'train.tar')
    with pytest.raises(ImageError, match='No such file'):
        source.read(0)


WHOLE = train_tar()
# where the last member of it ends, rounded up to a block; one block of zeros must follow
END = -(-len(WHOLE.rstrip(b'\0')) // 512) * 512


@given(st.integers(0, END + 511))
def test_a_training_tar_that_was_cut_anywhere_is_refused(tmp_path_factory, at):
    path = tmp_path_factory.getbasetemp() / 'cut.tar'
    path.write_bytes(WHOLE[:at])
    with pytest.raises(UserError, match='cut.tar.* is cut short, damaged or no tar file .*: '
                                        'download or copy it again'):
        class_tars(str(path))


@given(st.integers(0, len(class_tar(WNIDS[2])) - 1), st.integers(1, 255))
def test_a_class_tar_with_a_wrong_byte_has_all_images_or_is_refused(tmp_path_factory, at, change):
    """tarfile takes a damaged header for the end, and says nothing."""
    damaged = bytearray(class_tar(WNIDS[2]))
    damaged[at] ^= change
    folder = tmp_path_factory.getbasetemp() / 'damaged'
    write(folder / f'{WNIDS[2]}.tar', bytes(damaged))
    try:
        source = class_tars(str(folder))
    except UserError as error:
        assert f'{WNIDS[2]}.tar' in str(error)
    else:
        assert len(source) == 4


@pytest.mark.parametrize(('content', 'sentence'), [
    (b'', 'x.tar is cut short, damaged or no tar file'),
    (b'<html>' * 1000, 'x.tar is cut short, damaged or no tar file'),
    (pack([('n1.tar', pack([('a.JPEG', b'')]))], 'w:gz'), 'x.tar is cut short, damaged or no tar'),
    (pack([('n1.tar', pack([('a.JPEG', b'x' * 999)])[:1024])]),
     'x.tar: n1.tar is cut short, damaged or no tar file'),
    (pack([('n1.tar', pack([]))]), 'x.tar: n1.tar holds no images: download it again'),
    (pack([('n1.tar', b'')]), 'x.tar: n1.tar is cut short, damaged or no tar file'),
    (val_tar(), 'x.tar holds no tar of a class, such as n01440764.tar'),
    (pack([('n1.tar', pack([('a/x.JPEG', b''), ('b/x.JPEG', b'')]))]),
     'x.tar holds two images of the name x.JPEG: rename one'),
    (pack([(b'n\xff.tar'.decode('utf-8', 'surrogateescape'), pack([('a.JPEG', b'')]))],
          format=tarfile.GNU_FORMAT), r'tars of classes in .*x.tar: .*n\\xff.* is not UTF-8')])
def test_tars_that_are_none(tmp_path, content, sentence):
    write(tmp_path / 'x.tar', content)
    with pytest.raises(UserError, match=sentence):
        class_tars(str(tmp_path / 'x.tar'))


def test_a_tar_without_images(tmp_path):
    write(tmp_path / 'x.tar', pack([('a.txt', b'')]))
    with pytest.raises(UserError, match='x.tar holds no images: download it again'):
        flat_tar(str(tmp_path / 'x.tar'))


def test_links_and_folders_in_a_tar_are_passed_over(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode='w') as tar:
        for kind, name in ((tarfile.DIRTYPE, 'x.JPEG'), (tarfile.SYMTYPE, 'y.JPEG')):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, '/etc/passwd'
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo('z.JPEG'))
    write(tmp_path / 'x.tar', packed.getvalue())
    assert [member.name for member in flat_tar(str(tmp_path / 'x.tar'))] == ['z.JPEG']


def test_the_small_imagenet_has_no_order_of_its_own():
    """Or the other tests would not see that sources sort."""
    assert [name for _, name in tiny_imagenet.TRAIN] != sorted(
        name for _, name in tiny_imagenet.TRAIN)
    assert list(tiny_imagenet.numbers().values()) != sorted(tiny_imagenet.numbers().values())
