"""CIFAR-10: the published files or none, pictures cut as numpy cuts them, and a run of a study."""
import contextlib
import hashlib
import json

import cv2
import numpy as np
import pytest
from loading import load

from gluon_a2.data.preprocess import Preprocessing
from gluon_a2.deploy.bundle import read_meta
from gluon_a2.errors import UserError

cifar = load('benchmarks/cifar10.py')


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder of six binary files of 14 pictures each, and (pictures, labels) of all 84."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (84, 3, 32, 32), np.uint8)
    labels = random.integers(0, 10, 84).astype(np.uint8)
    folder = tmp_path / 'binary'
    folder.mkdir()
    for i, name in enumerate(cifar.FILES):
        of_file = slice(14 * i, 14 * (i + 1))
        content = b''.join(bytes([label]) + picture.tobytes()
                           for label, picture in zip(labels[of_file], pixels[of_file]))
        (folder / name).write_bytes(content)
        monkeypatch.setitem(cifar.FILES, name, hashlib.sha1(content).hexdigest())
    return folder, pixels, labels


def test_the_parts_are_those_of_the_binary_version(published):
    folder, pixels, labels = published
    for part, of_part in (('train', slice(0, 70)), ('val', slice(70, 84))):
        images, answers = cifar.read(folder, part)
        assert np.array_equal(images, pixels[of_part])
        assert np.array_equal(answers, labels[of_part])


def test_the_npm_package_becomes_the_published_files(published, tmp_path, monkeypatch):
    folder, pixels, labels = published
    package = tmp_path / 'package'
    package.mkdir()
    for i, name in enumerate(cifar.FILES):
        rows = pixels[14 * i:14 * (i + 1)].reshape(14, 3, 1024).transpose(0, 2, 1)
        cv2.imwrite(str((package / name).with_suffix('.png')), rows[..., ::-1])
    (package / 'train_lables.json').write_text(json.dumps(labels[:70].tolist()))
    (package / 'test_lables.json').write_text(json.dumps(labels[70:].tolist()))
    monkeypatch.setattr(cifar, 'npm_package', lambda *_: contextlib.nullcontext(package))
    monkeypatch.setenv('GLUON_A2_CACHE', str(tmp_path / 'cache'))
    cifar.main([str(tmp_path / 'made')])
    for name in cifar.FILES:
        assert (tmp_path / 'made' / 'classes' / name).read_bytes() == (folder / name).read_bytes()


def test_other_files_are_refused(published, tmp_path, capsys):
    folder, *_ = published
    changed = folder / 'test_batch.bin'
    changed.write_bytes(changed.read_bytes()[:-1] + b'x')
    with pytest.raises(UserError, match='test_batch.bin is not the published file'):
        cifar.read(folder, 'val')
    (folder / 'data_batch_3.bin').unlink()
    with pytest.raises(SystemExit) as ended:
        cifar.main([str(tmp_path / 'made'), '--cifar', str(folder)])
    assert ended.value.code == 2
    assert 'data_batch_3.bin cannot be read (No such file or directory)' in capsys.readouterr().err
    assert not (tmp_path / 'made').exists()


@pytest.fixture
def trainer(monkeypatch):
    pytest.importorskip('torch')
    module = load('benchmarks/train_cifar10.py')
    monkeypatch.setattr(module, 'read', cifar.read)
    return module


def test_pictures_are_cut_from_a_mirrored_margin(published, trainer):
    import torch
    folder, pixels, labels = published
    at, top, left, flip = [3, 60, 3], [0, 8, 4], [7, 1, 4], [False, True, False]
    cut, answers = trainer.Pictures(folder, 'train', torch.device('cpu')).cut(
        *map(torch.tensor, (at, top, left, flip)))
    assert answers.tolist() == labels[at].tolist()
    for i, where in enumerate(at):
        padded = np.pad(pixels[where].astype(np.float64), ((0, 0), (4, 4), (4, 4)), 'reflect')
        wanted = padded[:, top[i]:top[i] + 32, left[i]:left[i] + 32][..., ::-1 if flip[i] else 1]
        wanted = np.moveaxis(wanted / 255, 0, 2) - (0.485, 0.456, 0.406)
        wanted = cv2.resize(wanted / (0.229, 0.224, 0.225), (64, 64))  # bilinear, as PyTorch's is
        assert np.abs(np.moveaxis(cut[i].numpy(), 0, 2) - wanted).max() < 1e-5


def test_every_picture_comes_once_an_epoch_and_a_seed_draws_the_same_again(published, trainer):
    import torch
    pictures = trainer.Pictures(published[0], 'train', torch.device('cpu'))
    pictures.labels = torch.arange(70)
    first, again = (list(pictures.epoch(23, torch.Generator().manual_seed(5))) for _ in range(2))
    seen = torch.cat([labels for _, labels in first]).tolist()
    assert len(seen) == len(set(seen)) == 69 and seen != sorted(seen)
    assert all(torch.equal(*pair) for one, other in zip(first, again) for pair in zip(one, other))


def test_a_run_of_a_study_ends_as_files_of_mxnet(published, trainer, tmp_path, monkeypatch):
    study = load('benchmarks/study.py')
    folder, pixels, _ = published
    plan = tmp_path / 'plan.json'
    plan.write_text(json.dumps({
        'title': '', 'about': [], 'data': ['cifar10.py'], 'questions': ['classes'],
        'script': 'train_cifar10.py',
        'train': {'num_epochs': 2, 'warmup_epochs': 1, 'batch_size': 35},
        'arms': {'a2': {'model': 'a2_resnet26', 'identity': True}},
        'stages': [{'questions': ['classes'], 'arms': ['a2'], 'seeds': [7, 8]}],
        'hypotheses': []}))
    shop = study.Workshop(study.read_plan(plan), tmp_path / 'work', keep=True)
    monkeypatch.setattr(shop, 'data', lambda seed: tmp_path / 'made')
    (tmp_path / 'made').mkdir()
    (tmp_path / 'made' / 'classes').symlink_to(folder)
    monkeypatch.setattr(shop, 'command', lambda name, words, lock: trainer.main(
        list(map(str, words[1:]))) or 1.5)
    run, = shop.plan.runs
    row = shop.carry_out(run)
    assert row['status'] == 'ok' and row['cpu_seconds'] == '1.5', row
    assert len(row['curve'].split()) == 2 and row['parameters'] > 4e6
    assert row['processor'] == shop.processor
    exported = tmp_path / 'work' / 'runs' / run.name / 'export'
    assert sorted(path.name for path in exported.iterdir()) == [
        f'a2_resnet26-{kind}' for kind in ('0000.params', 'meta.json', 'symbol.json')]
    import torch
    pictures = Preprocessing.from_meta(read_meta(exported / 'a2_resnet26'))
    seen = trainer.Pictures(folder, 'val', torch.device('cpu')).whole(torch.arange(14))[0].numpy()
    for picture, wanted in zip(pixels[70:], seen):  # OpenCV rounds to a level of 255
        found = pictures.normalise(pictures(picture.transpose(1, 2, 0)))
        assert np.abs(found - wanted).max() < max(pictures.scale)


def test_what_cannot_be_done_is_said(published, trainer, tmp_path, capsys):
    words = ['--model', 'resnet26', '--data-dir', str(published[0]), '--save-dir']
    new = str(tmp_path / 'run')
    for more, said in (([str(tmp_path)], 'exists: choose another --save-dir'),
                       ([new, '--batch-size', '35', '--num-epochs', '5'],
                        '--warmup-epochs is 5, 10 steps'),
                       ([new, '--batch-size', '35', '--warmup-epochs', '0.5'],
                        '--warmup-epochs is 0.5, 1 steps: choose 0, or more than one step'),
                       ([new, '--model', 'vgg'], "--model: unknown network 'vgg': choose one of"),
                       ([new, '--batch-size', '71'], '--batch-size is 71: choose 70 at most')):
        with pytest.raises(SystemExit) as ended:
            trainer.main([*words, *more])
        assert ended.value.code == 2 and said in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()
