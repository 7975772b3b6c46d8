"""ImageNet as it is distributed is read as the class folders that it could be turned into."""
import logging
import os
import pickle
import random
import shutil

import numpy as np
import pytest
import tiny_imagenet
from tiny_imagenet import DEVKIT, GROUND_TRUTH, LAYOUTS, TRAIN, VAL, WNIDS, picture, write

from gluon_a2.data import decode, open_source
from gluon_a2.data.layouts import open_images
from gluon_a2.errors import UserError


def seen(source):
    """All that a source says, and what it reads after it was sent to another process."""
    copy = pickle.loads(pickle.dumps(source))
    return (source.classes, source.labels.tolist(), source.named,
            [copy.read(i) for i in range(len(source))])


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    return tiny_imagenet.write_folders(tmp_path_factory.mktemp('folders'))


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_is_the_class_folders(tmp_path, folders, layout, caplog):
    LAYOUTS[layout](tmp_path)
    train, val = (open_source(tmp_path, part) for part in ('train', 'val'))
    assert seen(train) == seen(open_images(folders, 'train'))
    assert [train.relative(i) for i in range(len(train))] == sorted(map('/'.join, TRAIN))
    assert train.classes == tuple(WNIDS) == val.classes
    assert [val.classes[label] for label in val.labels] == [wnid for wnid, _ in VAL]
    assert [val.relative(i) for i in range(len(val))] == [name for _, name in VAL]
    assert seen(val)[3] == [picture(name) for _, name in VAL]
    assert train.labels.dtype == val.labels.dtype == np.int64
    assert decode(val.read(3)).shape == (9, 13, 3)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (1 if layout in ('extracted', 'kaggle') else 2)
    assert said[-1].startswith(f'val images: {tmp_path}') and ', classes: ' in said[-1]


@pytest.mark.parametrize('seed', range(5))
def test_the_order_of_the_tars_does_not_matter(tmp_path, folders, seed):
    rng = random.Random(seed)

    def shuffled(files):
        return rng.sample(files, len(files))
    tiny_imagenet.write_archives(tmp_path, shuffled)
    assert seen(open_images(tmp_path, 'train')) == seen(open_images(folders, 'train'))
    assert seen(open_images(tmp_path, 'val'))[:2] == (tuple(WNIDS), [3, 0, 2, 2, 1, 0])


def test_images_say_where_they_are(tmp_path):
    tiny_imagenet.write_archives(tmp_path)
    assert open_images(tmp_path, 'train').name(0) == (
        f'{tmp_path}/ILSVRC2012_img_train.tar#n01440764/n01440764_18.JPEG')
    assert open_images(tmp_path, 'val').name(1) == (
        f'{tmp_path}/ILSVRC2012_img_val.tar#ILSVRC2012_val_00000002.JPEG')


def test_what_is_read_and_what_is_not_is_said_in_one_line(tmp_path, caplog):
    tiny_imagenet.write_archives(tmp_path)
    with caplog.at_level(logging.WARNING):
        open_images(tmp_path, 'val')
        shutil.copytree(tiny_imagenet.write_folders(tmp_path / 'more') / 'train',
                        tmp_path / 'train')
        source = open_images(tmp_path, 'train')
    assert [record.getMessage() for record in caplog.records] == [
        f'val images: {tmp_path}/ILSVRC2012_img_val.tar, classes: {tmp_path}/{DEVKIT}.tar.gz',
        f'train images: {tmp_path}/train; not read: {tmp_path}/ILSVRC2012_img_train.tar']
    assert source.name(0) == f'{tmp_path}/train/n01440764/n01440764_18.JPEG'


def test_plain_class_folders_need_no_line(folders, caplog):
    open_images(folders, 'train'), open_images(folders, 'val')
    assert caplog.text == ''


@pytest.mark.parametrize('listed', ['LOC_val_solution.csv', GROUND_TRUTH, f'{DEVKIT}.tar.gz'])
def test_a_list_that_is_named_is_taken_before_those_beside(tmp_path, listed):
    tiny_imagenet.write_archives(tmp_path)
    os.remove(tmp_path / f'{DEVKIT}.tar.gz')
    write(tmp_path / 'LOC_val_solution.csv', b'ILSVRC2012_val_00000001,n1\n')
    content = {'LOC_val_solution.csv': tiny_imagenet.solution, f'{DEVKIT}.tar.gz':
               tiny_imagenet.devkit, GROUND_TRUTH: tiny_imagenet.ground_truth}[listed]()
    write(tmp_path / 'else' / listed, content)
    write(tmp_path / 'else' / 'meta.mat', tiny_imagenet.meta_mat())
    source = open_images(tmp_path, 'val', str(tmp_path / 'else' / listed))
    assert source.labels.tolist() == [3, 0, 2, 2, 1, 0]
    with pytest.raises(UserError, match='LOC_val_solution.csv lists 1 of the 6 images only'):
        open_images(tmp_path, 'val')


def test_classes_that_are_known_give_the_labels(tmp_path):
    tiny_imagenet.write_archives(tmp_path)
    source = open_images(tmp_path, 'val', classes=('n00000001', *WNIDS))
    assert source.labels.tolist() == [4, 1, 3, 3, 2, 1] and len(source.classes) == 5
    with pytest.raises(UserError, match='devkit_t12.tar.gz has 1 classes that train lacks, such '
                                        f'as {WNIDS[2]}'):
        open_images(tmp_path, 'val', classes=(*WNIDS[:2], WNIDS[3]))


def remove(*names):
    def spoil(folder):
        for name in names:
            os.remove(folder / name)
    return spoil


def half_extract(folder):
    write(folder / 'train' / WNIDS[0] / 'a.JPEG', picture('a'))
    for wnid in WNIDS:
        write(folder / 'train' / f'{wnid}.tar', tiny_imagenet.class_tar(wnid))


@pytest.mark.parametrize(('part', 'spoil', 'sentence'), [
    ('train', remove('ILSVRC2012_img_train.tar'),
     "no train data in '.*': it holds none of train.rec, train, ILSVRC/Data/CLS-LOC/train, "
     'ILSVRC2012_img_train.tar; `data_dir`'),
    ('test', lambda folder: None, 'it holds none of test.rec, test; `data_dir`'),
    ('val', remove(f'{DEVKIT}.tar.gz'),
     'img_val.tar holds images without class folders, and nothing in .* says their classes. Sort '
     'them into val/<class>/, put ILSVRC2012_devkit_t12.tar.gz or LOC_val_solution.csv there, or '
     'write records, with `val_labels`'),
    ('train', half_extract, f'holds class folders and, without one, {WNIDS[1]}.tar: extract it'),
    ('val', lambda folder: (folder / 'val').mkdir(), 'val holds no class folders: images belong'),
    ('train', lambda folder: (folder / 'train').mkdir(), 'train holds no class folders'),
    ('train', lambda folder: write(folder / 'train' / 'a.JPEG', picture('a')),
     'train holds no class folders, but 1 images without a class')])
def test_what_is_missing_is_one_sentence(tmp_path, part, spoil, sentence):
    spoil(tiny_imagenet.write_archives(tmp_path))
    with pytest.raises(UserError, match=sentence):
        open_source(tmp_path, part)


def test_class_tars_that_were_extracted_do_not_stand_in_the_way(tmp_path, folders):
    half_extract(tmp_path)
    for wnid in WNIDS[1:]:
        write(tmp_path / 'train' / wnid / 'a.JPEG', picture('a'))
    assert len(open_images(tmp_path, 'train')) == 4
