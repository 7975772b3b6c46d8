"""A small ImageNet in each of the layouts that it is distributed in: 4 classes, 9 training and 6
validation images, and a meta.mat of 1,000 classes and the 3 nouns above them."""
import functools
import io
import os
import tarfile

import cv2
import numpy as np
import scipy.io

from gluon_a2.data.imagenet import names

WNIDS = [*names()][::250]
# of WNIDS; the images of a class stand in no order of their names
TRAIN = [('n01440764', 'n01440764_18.JPEG'), ('n01440764', 'n01440764_9.JPEG'),
         *((wnid, f'{wnid}_{i}.JPEG') for wnid, count in zip(WNIDS[1:], (1, 4, 2))
           for i in range(count, 0, -1))]
VAL = [(WNIDS[i], f'ILSVRC2012_val_{n:08d}.JPEG') for n, i in enumerate([3, 0, 2, 2, 1, 0], 1)]
DEVKIT = 'ILSVRC2012_devkit_t12'
GROUND_TRUTH = 'ILSVRC2012_validation_ground_truth.txt'


@functools.lru_cache(None)
def picture(name):
    """The JPEG of a name: noise that no other name has."""
    rng = np.random.default_rng(list(name.encode()))
    return cv2.imencode('.jpg', rng.integers(0, 256, (9, 13, 3), np.uint8))[1].tobytes()


def numbers():
    """{wnid: its number in the development kit}: from 1, in an order that is not the wnids'."""
    order = np.random.default_rng(2012).permutation(1000)
    return {wnid: int(order[i]) + 1 for i, wnid in enumerate(names())}


@functools.lru_cache(None)
def meta_mat():
    """The bytes of a meta.mat with the fields of the real one."""
    kinds = [(name, 'O') for name in ('ILSVRC2012_ID', 'WNID', 'words', 'gloss', 'num_children',
                                      'children', 'wordnet_height', 'num_train_images')]
    number = numbers()
    rows = sorted((number[wnid], wnid, words, 'a noun', 0, np.zeros((0, 0), np.uint8), 0, 1300)
                  for wnid, words in names().items())
    rows += [(1001 + i, f'n0000174{i}', 'entity', 'above others', 2, np.array([[1, 2]]), 9, 0)
             for i in range(3)]
    file = io.BytesIO()
    scipy.io.savemat(file, {'synsets': np.array(rows, kinds)[:, None]})
    return file.getvalue()


def ground_truth():
    """The lines of the list of numbers."""
    number = numbers()
    return ''.join(f'{number[wnid]}\n' for wnid, _ in VAL).encode()


def solution():
    """Kaggle's list, in no order."""
    return ('ImageId,PredictionString\n' + ''.join(
        f'{name[:-5]},{wnid} 1 2 3 4 {wnid} 5 6 7 8 \n' for wnid, name in VAL[::-1])).encode()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def pack(files, mode='w', **more):
    """The bytes of a tar of [(name, content)], in this order."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, **more) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def class_tar(wnid, order=list, **more):
    """The tar of a class."""
    return pack(order([(name, picture(name)) for known, name in TRAIN if known == wnid]), **more)


def train_tar(order=list, **more):
    """ILSVRC2012_img_train.tar; `order` gives what it holds, and what that holds, an order."""
    return pack(order([(f'{wnid}.tar', class_tar(wnid, order, **more)) for wnid in WNIDS]), **more)


def val_tar(order=list, **more):
    """ILSVRC2012_img_val.tar."""
    return pack(order([(name, picture(name)) for _, name in VAL]), **more)


@functools.lru_cache(None)
def devkit():
    """ILSVRC2012_devkit_t12.tar.gz."""
    return pack([(f'{DEVKIT}/readme.txt', b'of tasks 1 and 2'),
                 (f'{DEVKIT}/data/meta.mat', meta_mat()),
                 (f'{DEVKIT}/data/{GROUND_TRUTH}', ground_truth())], 'w:gz')


def write_folders(folder, flat=False):
    """Class folders train/ and val/, or a flat val/."""
    for part, images in (('train', TRAIN), ('val', VAL)):
        for wnid, name in images:
            write(folder / part / ('' if flat and part == 'val' else wnid) / name, picture(name))
    return folder


def write_archives(folder, order=list):
    """What image-net.org distributes."""
    for name, content in (('img_train.tar', train_tar(order)), ('img_val.tar', val_tar(order)),
                          ('devkit_t12.tar.gz', devkit())):
        write(folder / f'ILSVRC2012_{name}', content)
    return folder


def write_extracted(folder):
    """The archives extracted, the images of validation in one folder."""
    write_folders(folder, flat=True)
    write(folder / DEVKIT / 'data' / 'meta.mat', meta_mat())
    write(folder / DEVKIT / 'data' / GROUND_TRUTH, ground_truth())
    return folder


def write_half_extracted(folder):
    """The training tar extracted, those in it not; the list and meta.mat at the top."""
    write_extracted(folder)
    for wnid in WNIDS:
        for path in (folder / 'train' / wnid).iterdir():
            path.unlink()
        os.rmdir(folder / 'train' / wnid)
        write(folder / 'train' / f'{wnid}.tar', class_tar(wnid))
    for name in ('meta.mat', GROUND_TRUTH):
        os.rename(folder / DEVKIT / 'data' / name, folder / name)
    return folder


def write_kaggle(folder):
    """What Kaggle distributes."""
    write_folders(folder / 'ILSVRC' / 'Data' / 'CLS-LOC', flat=True)
    write(folder / 'ILSVRC' / 'Data' / 'CLS-LOC' / 'test' / 'ILSVRC2012_test_00000001.JPEG',
          picture('test'))
    write(folder / 'LOC_val_solution.csv', solution())
    write(folder / 'LOC_synset_mapping.txt',
          ''.join(f'{wnid} {name}\n' for wnid, name in names().items()).encode())
    return folder


LAYOUTS = {'archives': write_archives, 'extracted': write_extracted,
           'half extracted': write_half_extracted, 'kaggle': write_kaggle}
