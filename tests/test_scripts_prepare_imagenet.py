"""prepare_imagenet.py from folders to record files and back, with the mistakes people make."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import scipy.io
import tiny_imagenet

from gluon_a2.commands import prepare_imagenet
from gluon_a2.data import FolderSource, RecordReader, RecordSource, decode, imagenet
from gluon_a2.machine.resources import cores

SCRIPT = str(Path(__file__).resolve().parents[1] / 'scripts' / 'prepare_imagenet.py')
NAMES = ['n01 tench/é 1.JPEG', 'n01 tench/b.png', 'n02/c.jpg', 'n02/d.jpg', 'n02/e.webp',
         'ü/f g.bmp', 'ü/h.jpg']


def picture(seed, kind='.jpg'):
    """Tinted noise; widths from 41, heights from 67, so that the short side is the width."""
    grey = np.random.default_rng(seed).integers(0, 120, (67 + seed, 41 + seed, 1), np.uint8)
    return cv2.imencode(kind, grey + np.array([0, 60, 120], np.uint8))[1].tobytes()


@pytest.fixture
def folder(tmp_path):
    for split in ('train', 'val'):
        for seed, name in enumerate(NAMES):
            path = tmp_path / 'images' / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(seed, os.path.splitext(name)[1]))
    return tmp_path


def run(folder, *flags, out='out'):
    """The script's main in this process."""
    return prepare_imagenet.main(['--data-dir', str(folder / 'images'), '--out',
                                  str(folder / out), '-j', '1', *flags])


def fails(capsys, call, message):
    """`call` ends in exit code 2 and one sentence."""
    with pytest.raises(SystemExit) as caught:
        call()
    errors = capsys.readouterr().err
    sentence = [line for line in errors.splitlines() if line.startswith('error: ')]
    assert caught.value.code == 2 and len(sentence) == 1 and re.search(message, sentence[0]), errors


def files(path):
    return {name: (path / name).read_bytes() for name in os.listdir(path)}


def test_round_trip(folder, capsys):
    assert run(folder) == 0
    assert set(files(folder / 'out')) == {f'{split}.{kind}' for split in ('train', 'val')
                                          for kind in ('rec', 'idx', 'lst')} | {'classes.txt'}
    for split in ('train', 'val'):
        records = RecordSource(folder / 'out' / f'{split}.rec')
        images = FolderSource(folder / 'images' / split)
        assert records.classes == images.classes == ('n01 tench', 'n02', 'ü')
        keys = RecordReader(folder / 'out' / f'{split}.rec').keys
        assert sorted(keys) == list(range(7)) and (list(keys) == list(range(7))) == (split == 'val')
        for i, key in enumerate(keys):
            assert records.read(i) == images.read(key) and records.labels[i] == images.labels[key]
        lines = (folder / 'out' / f'{split}.lst').read_text('utf-8').splitlines()
        listed = {int(key): name for key, _, name in (line.split('\t') for line in lines)}
        assert listed == {i: images.relative(i) for i in range(7)}
    assert prepare_imagenet.main(['--verify', '--out', str(folder / 'out'), '-j', '1']) == 0
    printed = capsys.readouterr().out
    assert 'train: 7 records, labels 0 to 2 of 3 classes, 2 to 3 images each' in printed


def test_processes_do_not_matter(folder):
    for jobs in ('1', '2'):
        assert run(folder, '--resize', '37', '-j', jobs, out=jobs) == 0
    assert files(folder / '1') == files(folder / '2')


def test_resize_reduces_the_short_side_only_where_longer(folder):
    assert run(folder, '--resize', '43', '--split', 'val', '--quality', '97') == 0
    records, images = RecordSource(folder / 'out/val.rec'), FolderSource(folder / 'images/val')
    for i in range(7):
        before, after = decode(images.read(i)), decode(records.read(i))
        height, width = before.shape[:2]
        if width <= 43:
            assert records.read(i) == images.read(i)
        else:
            assert after.shape == (round(height * 43 / width), 43, 3)
            expected = cv2.resize(before, (43, after.shape[0]), interpolation=cv2.INTER_AREA)
            assert abs(after.astype(float) - expected).mean() < 4  # JPEG
    assert sum(decode(images.read(i)).shape[1] > 43 for i in range(7)) == 4


def test_undecodable_images_are_named_and_left_out(folder, capsys):
    (folder / 'images/train/n02/d.jpg').write_bytes(b'<html>')
    (folder / 'images/train/ü/h.jpg').write_bytes(picture(3)[:-50])
    assert run(folder) == 1
    errors = capsys.readouterr().err
    assert 'n02/d.jpg: it is not a JPEG' in errors and 'ü/h.jpg: it is truncated' in errors
    assert [len(RecordSource(folder / f'out/{split}.rec')) for split in ('train', 'val')] == [5, 7]
    assert RecordSource(folder / 'out/train.rec').classes == ('n01 tench', 'n02', 'ü')


def test_nothing_decodes(folder, capsys):
    for name in NAMES:
        (folder / 'images/train' / name).write_bytes(b'')
    fails(capsys, lambda: run(folder), 'not one image in .*train can be decoded')
    assert os.listdir(folder / 'out') == ['classes.txt']


def test_more_processes_than_make_sense_are_refused_before_anything_is_written(folder, capsys):
    """The default may not be refused, however many cores the machine has beside this process's."""
    assert prepare_imagenet.Choices('out', verify=True).num_data_workers == cores()
    fails(capsys, lambda: run(folder, '-j', '100000'), '--num-data-workers must be 1 to ')
    assert not (folder / 'out').exists()


def test_no_overwriting_unless_asked(folder, capsys):
    assert run(folder, '--split', 'val') == 0
    before = files(folder / 'out')
    fails(capsys, lambda: run(folder), r'val.rec exists already: .* --overwrite')
    assert files(folder / 'out') == before
    assert run(folder, '--overwrite') == 0
    assert files(folder / 'out')['val.rec'] == before['val.rec']


def test_splits_one_after_the_other(folder, capsys):
    assert run(folder, '--split', 'val') == 0
    assert run(folder, '--split', 'train') == 0
    os.rename(folder / 'images/train/ü', folder / 'images/train/u')
    os.remove(folder / 'out/train.rec')
    fails(capsys, lambda: run(folder, '--split', 'train'), 'classes.txt lists other classes')


def test_splits_with_different_classes(folder, capsys):
    os.rename(folder / 'images/val/n02', folder / 'images/val/n03')
    fails(capsys, lambda: run(folder), '2 are in one of them only, such as n02')
    assert not (folder / 'out').exists()


@pytest.mark.parametrize(('flags', 'message'), [
    (['--split', 'test'], 'no test data in .*images.: it holds none of test; --data-dir'),
    (['--split', 'val,'], '--split must be'), (['--quality', '0'], '--quality must be 1 to 100'),
    (['--resize', '-1'], '--resize'), (['-j', '0'], '--num-data-workers'),
])
def test_bad_flags(folder, capsys, flags, message):
    fails(capsys, lambda: run(folder, *flags), message)


@pytest.mark.parametrize('flags', [['--split', 'train'], ['--verify']])
def test_a_list_of_classes_without_effect(folder, capsys, flags):
    fails(capsys, lambda: run(folder, '--val-labels', 'x.txt', *flags),
          '--val-labels is for writing the records of val: leave it out')


def test_data_dir_is_missing(tmp_path, capsys):
    fails(capsys, lambda: prepare_imagenet.main(['--out', str(tmp_path)]), '--data-dir is missing')


@pytest.fixture
def flat(folder):
    """The validation images of `folder` in one folder, as ImageNet has them; their classes."""
    shutil.rmtree(folder / 'images/val')
    (folder / 'images/val').mkdir()
    classes = ['ü', 'n02', 'n01 tench', 'n02']
    for i in range(4):
        (folder / f'images/val/ILSVRC2012_val_{i + 1:08d}.JPEG').write_bytes(picture(i))
    return classes


def write_meta(path):
    """meta.mat of the development kit: its numbers are not in alphabetical order."""
    kinds = [('ILSVRC2012_ID', 'O'), ('WNID', 'O'), ('words', 'O'), ('num_children', 'O')]
    rows = [(1, 'ü', 'a', 0), (2, 'n02', 'b', 0), (3, 'n01 tench', 'c', 0), (9, 'n09', 'all', 3)]
    scipy.io.savemat(path, {'synsets': np.array(rows, kinds)})


@pytest.mark.parametrize('form', ['names', 'csv', 'lines', 'numbers'])
def test_the_flat_validation_folder_of_imagenet(folder, flat, form):
    names = [f'ILSVRC2012_val_{i + 1:08d}' for i in range(4)]
    if form == 'csv':  # Kaggle's, of wnids without blanks
        for split in ('train', 'val'):
            if split == 'train':
                os.rename(folder / 'images/train/n01 tench', folder / 'images/train/n01')
        flat = [name.split()[0] for name in flat]
    rows = {'names': [f'{name}.JPEG {label}' for name, label in reversed([*zip(names, flat)])],
            'csv': ['ImageId,PredictionString',
                    *(f'{name},{label} 1 2 3 4' for name, label in zip(names, flat))],
            'lines': flat, 'numbers': ['1', '2', '3', '2']}[form]
    (folder / 'labels.txt').write_text('\n'.join(rows) + '\n', 'utf-8')
    write_meta(folder / 'meta.mat')
    assert run(folder, '--val-labels', str(folder / 'labels.txt')) == 0
    records = RecordSource(folder / 'out' / 'val.rec')
    assert [records.classes[label] for label in records.labels] == flat
    assert [records.read(i) for i in range(4)] == [picture(i) for i in range(4)]


@pytest.mark.parametrize(('rows', 'message'), [
    (['n02', 'n02'], 'labels.txt has 2 labels, and there are 4 images'),
    (['ILSVRC2012_val_00000002.JPEG n02'],
     'lists 1 of the 4 images only; ILSVRC2012_val_00000001.JPEG is not among'),
    (['n02', 'n03', 'n02', 'n02'], '1 classes that train lacks, such as n03'),
    (['1', '2', '3', '2'], 'class numbers, which only meta.mat .* translates: put it beside')])
def test_lists_of_labels_that_do_not_fit(folder, flat, capsys, rows, message):
    (folder / 'labels.txt').write_text('\n'.join(rows) + '\n', 'utf-8')
    fails(capsys, lambda: run(folder, '--val-labels', str(folder / 'labels.txt')), message)
    assert not (folder / 'out').exists()


def test_a_list_for_class_folders_is_refused_before_hours_of_work(folder, capsys):
    (folder / 'labels.txt').write_text('n02\n')
    fails(capsys, lambda: run(folder, '--val-labels', str(folder / 'labels.txt')),
          'val itself holds no images: leave out --val-labels')
    assert not (folder / 'out').exists()


def test_a_flat_folder_without_a_list(folder, flat, capsys):
    fails(capsys, lambda: run(folder), 'val holds images without class folders, and nothing in '
                                       '.*images says their classes. Sort them .*--val-labels')


@pytest.mark.parametrize('layout', tiny_imagenet.LAYOUTS)
def test_imagenet_as_it_is_distributed_gives_the_records_of_its_class_folders(tmp_path, layout,
                                                                              caplog):
    """To the byte; of val the .lst has no classes, because its images lie in none."""
    tiny_imagenet.LAYOUTS[layout](tmp_path / 'images')
    assert run(tmp_path, '--resize', '8') == 0
    shutil.rmtree(tmp_path / 'images')
    tiny_imagenet.write_folders(tmp_path / 'images')
    (tmp_path / 'images' / 'list').write_bytes(tiny_imagenet.solution())
    assert run(tmp_path, '--resize', '8', '--split', 'train', out='plain') == 0
    shutil.rmtree(tmp_path / 'images' / 'val')
    for _, name in tiny_imagenet.VAL:
        tiny_imagenet.write(tmp_path / 'images' / 'val' / name, tiny_imagenet.picture(name))
    assert run(tmp_path, '--resize', '8', '--split', 'val', '--val-labels',
               str(tmp_path / 'images' / 'list'), out='plain') == 0
    assert files(tmp_path / 'out') == files(tmp_path / 'plain')
    assert len(files(tmp_path / 'out')) == 7
    assert RecordSource(tmp_path / 'out' / 'val.rec').labels.tolist() == [3, 0, 2, 2, 1, 0]
    assert 'the images are not all of it' not in caplog.text


def test_processes_do_not_matter_to_tars(tmp_path):
    tiny_imagenet.write_archives(tmp_path / 'images')
    for jobs in ('1', '2'):
        assert run(tmp_path, '-j', jobs, out=jobs) == 0
    assert files(tmp_path / '1') == files(tmp_path / '2')


def test_validation_alone(tmp_path):
    tiny_imagenet.write_archives(tmp_path / 'images')
    os.remove(tmp_path / 'images' / 'ILSVRC2012_img_train.tar')
    assert run(tmp_path, '--split', 'val') == 0
    assert RecordSource(tmp_path / 'out' / 'val.rec').classes == tuple(tiny_imagenet.WNIDS)


def test_a_member_of_a_tar_that_is_no_image_is_named(tmp_path, capsys):
    tiny_imagenet.write_archives(tmp_path / 'images')
    path = tmp_path / 'images' / 'ILSVRC2012_img_val.tar'
    third = tiny_imagenet.picture('ILSVRC2012_val_00000003.JPEG')
    path.write_bytes(path.read_bytes().replace(third, b'<html>'.ljust(len(third))))
    assert run(tmp_path, '--split', 'val') == 1
    assert (f'left out {path}#ILSVRC2012_val_00000003.JPEG: it is not a JPEG'
            in capsys.readouterr().err)
    assert len(RecordSource(tmp_path / 'out' / 'val.rec')) == 5


@pytest.mark.parametrize(('counts', 'sentence'), [
    ((9, 6), ''), ((10, 6), 'train has 9 images instead of 10'),
    ((9, 8), 'val has 6 images instead of 8')])
def test_the_counts_of_imagenet(tmp_path, monkeypatch, capsys, counts, sentence):
    monkeypatch.setattr(imagenet, 'names', lambda: dict.fromkeys(tiny_imagenet.WNIDS, 'x'))
    monkeypatch.setattr(imagenet, 'IMAGES', dict(zip(('train', 'val'), counts)))
    monkeypatch.setattr(imagenet, '_log', SimpleNamespace(
        warning=lambda text, *values: print(text % values)))
    tiny_imagenet.write_archives(tmp_path / 'images')
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    # the small one has 1 or 2 validation images of a class
    assert 'the images are not all of it: ' in out and sentence in out
    assert ('val has 1 to 2 images of a class' in out) == (counts[1] == 6)


def damage(path, at):
    with open(path, 'r+b') as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def damage_image(out):
    damage(out / 'val.rec', RecordReader(out / 'val.rec').offsets[2] + 2000)


def damage_structure(out):
    damage(out / 'val.rec', RecordReader(out / 'val.rec').offsets[2])


def cut_file(out):
    os.truncate(out / 'val.rec', os.path.getsize(out / 'val.rec') - 100)


def cut_index(out):
    lines = (out / 'val.idx').read_text().splitlines(keepends=True)
    (out / 'val.idx').write_text(''.join(lines[:3] + lines[4:]))


def cut_classes(out):
    (out / 'classes.txt').write_text('n01 tench\nn02\n')


@pytest.mark.parametrize(('spoil', 'message'), [
    (damage_image, 'val.rec#2: its checksum is wrong'),
    (damage_structure, 'does not start with the magic word'),
    (cut_file, 'val.rec is cut short'), (cut_index, 'holds 7 records, its index lists 6'),
    (cut_classes, '2 of 7 labels are outside 0…1'),
    (lambda out: os.remove(out / 'val.rec'), 'cannot open')])
def test_verify_finds(folder, capsys, spoil, message):
    assert run(folder, '--split', 'val') == 0
    spoil(folder / 'out')
    assert prepare_imagenet.main(['--verify', '--out', str(folder / 'out'), '--split', 'val',
                                  '-j', '1']) == 1
    assert message in capsys.readouterr().err


def test_as_a_script(folder):
    command = [sys.executable, SCRIPT, '--data-dir', 'images', '--out', 'out', '-j', '2']
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 0
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert again.returncode == 2 and re.fullmatch('error: .*\n', again.stderr)
