"""The classes of the validation images, in each form that their list comes in."""
import io
import os

import numpy as np
import pytest
import scipy.io
import tiny_imagenet
from hypothesis import given
from hypothesis import strategies as st
from tiny_imagenet import DEVKIT, GROUND_TRUTH, VAL, meta_mat, pack, write

from gluon_a2.data.val_labels import read_val_labels
from gluon_a2.errors import UserError

NAMES, CLASSES = [name for _, name in VAL], [wnid for wnid, _ in VAL]


@pytest.mark.parametrize('ending', ['\n', '\r\n'])
def test_the_development_kit_extracted_and_as_it_comes(tmp_path, ending):
    write(tmp_path / GROUND_TRUTH, tiny_imagenet.ground_truth().replace(b'\n', ending.encode()))
    write(tmp_path / 'meta.mat', meta_mat())
    assert read_val_labels(str(tmp_path / GROUND_TRUTH), NAMES) == CLASSES
    write(tmp_path / 'kit.tar.gz', tiny_imagenet.devkit())
    assert read_val_labels(str(tmp_path / 'kit.tar.gz'), NAMES) == CLASSES


@pytest.mark.parametrize('squeezed', [True, False])
def test_fields_of_meta_mat_are_found_by_name(tmp_path, squeezed):
    """Whatever their order, and however the table was turned."""
    kinds = [('words', 'O'), ('WNID', 'O'), ('ILSVRC2012_ID', 'O')]
    table = np.array([('a', 'n02', 1), ('b', 'n01', 2)], kinds)
    scipy.io.savemat(tmp_path / 'meta.mat', {'synsets': table if squeezed else table[:, None]})
    write(tmp_path / 'list', b'2\n1\n2\n')
    assert read_val_labels(str(tmp_path / 'list'), list('abc')) == ['n01', 'n02', 'n01']


def kit(**files):
    """A development kit that has these contents."""
    inside = {'meta.mat': meta_mat(), GROUND_TRUTH: tiny_imagenet.ground_truth(), **files}
    return pack([(f'{DEVKIT}/data/{name}', content) for name, content in inside.items()
                 if content is not None], 'w:gz')


def saved(**values):
    file = io.BytesIO()
    scipy.io.savemat(file, values)
    return file.getvalue()


TABLE = 'is not the table of classes of the development kit .*: take it from there again'


@pytest.mark.parametrize(('files', 'sentence'), [
    ({GROUND_TRUTH: None}, f'holds no {GROUND_TRUTH}: give the development kit of tasks 1 and 2'),
    ({'meta.mat': None}, 'holds no meta.mat: give the development kit'),
    ({GROUND_TRUTH: b'1\n' * 5}, 'has 5 labels, and there are 6 images: both must be whole'),
    ({GROUND_TRUTH: b'1\n' * 5 + b'2000\n'}, 'has the class number 2000, which meta.mat does not'),
    ({'meta.mat': b''}, TABLE), ({'meta.mat': b'<html>' * 100}, TABLE),
    ({'meta.mat': meta_mat()[:5000]}, TABLE), ({'meta.mat': meta_mat()[:130]}, TABLE),
    ({'meta.mat': saved(other=1)}, TABLE), ({'meta.mat': saved(synsets=[1, 2])}, TABLE),
    ({'meta.mat': saved(synsets=np.array([('x', 1)], [('WNID', 'O'), ('number', 'O')]))}, TABLE),
    ({'meta.mat': saved(synsets=np.array([('x', 'one'), ('y', 'two')], [
        ('WNID', 'O'), ('ILSVRC2012_ID', 'O')]))}, TABLE)])
def test_kits_that_do_not_fit(tmp_path, files, sentence):
    write(tmp_path / f'{DEVKIT}.tar.gz', kit(**files))
    with pytest.raises(UserError, match=sentence) as caught:
        read_val_labels(str(tmp_path / f'{DEVKIT}.tar.gz'), NAMES)
    assert str(tmp_path / DEVKIT) in str(caught.value)


@pytest.mark.parametrize('keep', [0, 10, 1000, -9])
def test_a_kit_that_was_cut(tmp_path, keep):
    write(tmp_path / 'kit.tar.gz', kit()[:keep])
    with pytest.raises(UserError, match='kit.tar.gz cannot be read .*: download it again'):
        read_val_labels(str(tmp_path / 'kit.tar.gz'), NAMES)


@given(st.integers(0, len(tiny_imagenet.devkit()) - 1), st.integers(1, 255))
def test_a_kit_with_a_wrong_byte_says_the_same_or_is_refused(tmp_path_factory, at, change):
    damaged = bytearray(tiny_imagenet.devkit())
    damaged[at] ^= change
    path = tmp_path_factory.getbasetemp() / 'kit.tar.gz'
    path.write_bytes(damaged)
    try:
        assert read_val_labels(str(path), NAMES) == CLASSES
    except UserError as error:
        assert 'cannot be read' in str(error)


def test_a_meta_mat_beside_the_list_that_is_none(tmp_path):
    write(tmp_path / 'list.txt', tiny_imagenet.ground_truth())
    with pytest.raises(UserError, match='only meta.mat .* translates: put it beside, as .*meta.ma'):
        read_val_labels(str(tmp_path / 'list.txt'), NAMES)
    write(tmp_path / 'meta.mat', os.urandom(300))
    with pytest.raises(UserError, match=f'{tmp_path}/meta.mat {TABLE}'):
        read_val_labels(str(tmp_path / 'list.txt'), NAMES)


def test_as_many_lines_as_images(tmp_path):
    """49,999 of 50,000: with one missing, nobody knows which."""
    write(tmp_path / 'list.txt', b'1\n' * 49999)
    names = [f'ILSVRC2012_val_{i:08d}.JPEG' for i in range(1, 50001)]
    with pytest.raises(UserError, match='has 49999 labels, and there are 50000 images'):
        read_val_labels(str(tmp_path / 'list.txt'), names)
    with pytest.raises(UserError, match='nothing.txt cannot be read: No such file'):
        read_val_labels(str(tmp_path / 'nothing.txt'), names)
