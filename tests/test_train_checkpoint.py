import errno
import json
import os
import shutil

import numpy as np
import pytest

from gluon_a2.train import checkpoint
from gluon_a2.train.checkpoint import CheckpointError

TENSORS = {'param/w': np.arange(6, dtype=np.float32).reshape(2, 3), 'state/w/0': np.full(3, 0.1, np.float16)}
STATE = {'at': {'step': 5}, 'loss': 0.1 + 0.2}


def test_round_trip_is_exact(tmp_path):
    path = checkpoint.save(tmp_path, 5, TENSORS, STATE)
    found = checkpoint.load(path)
    assert found.state == STATE and found.path == path
    for name, array in TENSORS.items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array)


def test_no_file_is_a_pickle(tmp_path):
    path = checkpoint.save(tmp_path, 5, TENSORS, STATE)
    assert sorted(os.listdir(path)) == ['manifest.json', 'tensors.safetensors']
    json.loads((path / 'manifest.json').read_text())
    assert (path / 'tensors.safetensors').read_bytes()[8:9] == b'{'


def test_keeps_the_newest_two_and_the_best(tmp_path):
    for step in (1, 2, 3, 4, 5):
        path = checkpoint.save(tmp_path, step, TENSORS, STATE)
        if step == 2:
            checkpoint.mark_best(tmp_path, path)
    assert sorted(p.name for p in tmp_path.glob('step-*')) == ['step-00000002', 'step-00000004', 'step-00000005']
    assert checkpoint.find(tmp_path, 'best').path.name == 'step-00000002'
    assert checkpoint.find(tmp_path, 'last').path.name == 'step-00000005'
    assert checkpoint.find(tmp_path, tmp_path / 'step-00000004').path.name == 'step-00000004'


def every_damage(path):
    """(what, damaged content) for each truncation and each flipped bit of a file."""
    content = path.read_bytes()
    for length in range(len(content)):
        yield f'cut to {length}', content[:length]
    for position in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        yield f'bit {position}', bytes(flipped)


@pytest.mark.parametrize('name', ['manifest.json', 'tensors.safetensors'])
def test_every_truncation_and_every_flipped_bit_is_refused_or_harmless(tmp_path, name):
    path = checkpoint.save(tmp_path, 5, {'w': np.arange(3, dtype=np.float32)}, {'a': 1})
    sound, accepted = (path / name).read_bytes(), []
    for what, content in every_damage(path / name):
        (path / name).write_bytes(content)
        try:
            found = checkpoint.load(path)
        except CheckpointError:
            continue
        accepted.append(what)
        assert found.state == {'a': 1} and found.tensors['w'].tolist() == [0, 1, 2]
    # A flipped bit in the white space between JSON tokens may leave the same manifest; nothing else may pass.
    assert len(accepted) <= sound.count(b'\n') if name == 'manifest.json' else not accepted


def test_the_newest_valid_one_is_found_behind_damaged_ones(tmp_path, caplog):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, TENSORS, {'step': step}, keep=3)
    (tmp_path / 'step-00000002' / 'tensors.safetensors').write_bytes(b'cut')
    (tmp_path / 'step-00000003').mkdir()
    assert checkpoint.newest(tmp_path).state == {'step': 1}
    assert 'step-00000002' in caplog.text and 'step-00000003' in caplog.text
    for step in (4, 5):
        checkpoint.save(tmp_path, step, TENSORS, {'step': step})
    assert checkpoint.newest(tmp_path).state == {'step': 5}


def test_damaged_later_ones_do_not_push_out_what_is_written_after_a_resume(tmp_path):
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, TENSORS, {'step': step}, keep=3)
    for step in (20, 30):
        (tmp_path / f'step-000000{step}' / 'manifest.json').write_text('{}')
    checkpoint.save(tmp_path, 12, TENSORS, {'step': 12})
    checkpoint.save(tmp_path, 14, TENSORS, {'step': 14})
    assert sorted(p.name for p in tmp_path.glob('step-*')) == ['step-00000012', 'step-00000014']


@pytest.mark.parametrize('call', ['fsync', 'replace'])
@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EIO])
def test_a_failed_write_leaves_the_earlier_ones_and_no_litter(tmp_path, monkeypatch, call, number):
    checkpoint.save(tmp_path, 1, TENSORS, {'step': 1})

    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        checkpoint.save(tmp_path, 2, TENSORS, {'step': 2})
    assert os.listdir(tmp_path) == ['step-00000001']
    assert checkpoint.newest(tmp_path).state == {'step': 1}


def test_non_finite_values_are_never_written(tmp_path):
    checkpoint.save(tmp_path, 1, TENSORS, {'step': 1})
    with pytest.raises(CheckpointError, match='param/w is no longer finite at step 2'):
        checkpoint.save(tmp_path, 2, {'param/w': np.array([1, np.nan], np.float32)}, {})
    assert os.listdir(tmp_path) == ['step-00000001']


def test_saving_the_same_step_again_replaces_it(tmp_path):
    checkpoint.save(tmp_path, 1, TENSORS, {'try': 1})
    checkpoint.save(tmp_path, 1, TENSORS, {'try': 2})
    assert checkpoint.newest(tmp_path).state == {'try': 2}


def test_missing_ones_are_named(tmp_path):
    assert checkpoint.newest(tmp_path / 'none') is None
    with pytest.raises(CheckpointError, match='holds no valid checkpoint'):
        checkpoint.find(tmp_path, 'last')
    with pytest.raises(CheckpointError, match='holds no valid checkpoint'):
        checkpoint.find(tmp_path, 'best')
    with pytest.raises(CheckpointError, match='nowhere is not a whole checkpoint'):
        checkpoint.find(tmp_path, 'nowhere')
    (tmp_path / 'best.json').write_text('broken')
    with pytest.raises(CheckpointError, match='best.json is damaged'):
        checkpoint.find(tmp_path, 'best')


def test_a_best_mark_outlives_a_failed_save(tmp_path):
    checkpoint.mark_best(tmp_path, checkpoint.save(tmp_path, 1, TENSORS, {}))
    shutil.copy(tmp_path / 'best.json', tmp_path / 'kept')
    with pytest.raises(CheckpointError):
        checkpoint.save(tmp_path, 2, {'w': np.array([np.inf])}, {})
    assert (tmp_path / 'best.json').read_bytes() == (tmp_path / 'kept').read_bytes()
