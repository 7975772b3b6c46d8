import errno
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from gluon_a2.run import checkpoint
from gluon_a2.run.checkpoint import CheckpointError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'proofs'))

import lost_writes

ROOT = Path(__file__).resolve().parents[1]
TENSORS = {'param/w': np.arange(6, dtype=np.float32).reshape(2, 3),
           'state/w/0': np.full(3, 0.1, np.float16)}
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
    assert sorted(p.name for p in tmp_path.glob('step-*')) == [
        'step-00000002', 'step-00000004', 'step-00000005']
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
def test_every_truncation_and_every_flipped_bit_is_refused(tmp_path, name):
    path = checkpoint.save(tmp_path, 5, {'w': np.arange(3, dtype=np.float32)}, {'a': 1})
    accepted = []
    for what, content in every_damage(path / name):
        (path / name).write_bytes(content)
        try:
            checkpoint.load(path)
        except CheckpointError:
            continue
        accepted.append(what)
    assert accepted == []


def seal(path, content=None, **changes):
    """Give a checkpoint other tensors or manifest entries, with sizes and digests that match."""
    manifest = json.loads((path / 'manifest.json').read_bytes())
    del manifest['digest']
    if content is not None:
        (path / 'tensors.safetensors').write_bytes(content)
        manifest.update(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    manifest = {key: value for key, value in {**manifest, **changes}.items() if value is not None}
    (path / 'manifest.json').write_bytes(checkpoint._encode(manifest))


def tensor_file(header, data=bytes(24), length=None):
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + data


def entry(shape, start, stop, dtype='F32'):
    return {'dtype': dtype, 'shape': shape, 'data_offsets': [start, stop]}


@pytest.mark.parametrize('content', [
    tensor_file({'a': entry([3], 0, 12), 'b': entry([3], 8, 20)}, bytes(20)),  # overlap
    tensor_file({'a': entry([3], 0, 12), 'b': entry([3], 16, 28)}, bytes(28)),     # a hole
    tensor_file({'a': entry([3], 0, 12)}),                    # bytes that belong to nothing
    tensor_file({'a': entry([6], 0, 240)}),                   # beyond the end
    tensor_file({'a': entry([7], 0, 24)}),                    # shape and bytes disagree
    tensor_file({'a': entry([2 ** 62, 2 ** 62], 0, 24)}),     # a size that overflows
    tensor_file({'a': entry([6], 24, 0)}), tensor_file({'a': entry([-6], 0, 24)}),
    tensor_file({'a': entry([6], 0, 24, 'OBJECT')}), tensor_file({'a': entry([12], 0, 24, 'BF16')}),
    tensor_file([]), tensor_file({}, length=2 ** 63), tensor_file({}, b'', length=10 ** 12), b'',
    bytes(7)])
def test_tensors_that_lie_about_themselves_are_refused(tmp_path, content):
    path = checkpoint.save(tmp_path, 5, TENSORS, STATE)
    seal(path, tensor_file({'a': entry([6], 0, 24)}))
    assert checkpoint.load(path).tensors['a'].tolist() == [0] * 6
    seal(path, content)
    with pytest.raises(CheckpointError, match='tensors.safetensors cannot be read'):
        checkpoint.load(path)


@pytest.mark.parametrize('changes', [
    {'format': 'gluon_a2 checkpoint 1'}, {'state': None}, {'more': 1}])
def test_a_manifest_of_another_format_is_refused(tmp_path, changes):
    path = checkpoint.save(tmp_path, 5, TENSORS, STATE)
    seal(path, **changes)
    with pytest.raises(CheckpointError, match="this version of gluon_a2 reads 'gluon_a2 checkpoint "
                                              "2'"):
        checkpoint.load(path)


@pytest.mark.parametrize('text', ['', '[]', '{}', '3', '{"digest": 1}', '[' * 100000])
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    path = checkpoint.save(tmp_path, 5, TENSORS, STATE)
    (path / 'manifest.json').write_text(text)
    with pytest.raises(CheckpointError, match='not a whole checkpoint|is damaged'):
        checkpoint.load(path)


def test_tensors_of_another_network_are_named(tmp_path):
    found = checkpoint.load(checkpoint.save(tmp_path, 5, TENSORS, STATE))
    found.check({'param/w': (2, 3), 'state/w/0': (3,)})
    with pytest.raises(
            CheckpointError, match=r'\(param/v is missing; state/w/0 is not of this network; '
            r'param/w is \(2, 3\), not \(3, 2\)\)'):
        found.check({'param/w': (3, 2), 'param/v': (1,)})


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
    for number in (1, 2, 3):
        checkpoint.save(tmp_path, 1, TENSORS, {'try': number}, best=True)
        assert checkpoint.newest(tmp_path).state == {'try': number}
        assert checkpoint.find(tmp_path, 'best').state == {'try': number}
    assert sorted(os.listdir(tmp_path)) == ['best.json', 'step-00000001.3']
    checkpoint.save(tmp_path, 1, TENSORS, {'try': 4})
    assert checkpoint.newest(tmp_path).state == {'try': 4}
    assert checkpoint.find(tmp_path, 'best').state == {'try': 3}


def test_a_valid_checkpoint_is_never_gone_while_another_of_its_step_takes_its_place(
        tmp_path, monkeypatch):
    checkpoint.mark_best(tmp_path, checkpoint.save(tmp_path, 1, TENSORS, {'try': 1}))
    original, tries = os.replace, []

    def replace(source, target):
        tries.append(checkpoint.newest(tmp_path).state['try'])
        assert checkpoint.find(tmp_path, 'best')
        original(source, target)
        tries.append(checkpoint.newest(tmp_path).state['try'])

    monkeypatch.setattr(os, 'replace', replace)
    for number in (2, 3):
        checkpoint.save(tmp_path, 1, TENSORS, {'try': number}, best=True)
    assert tries == sorted(tries) and set(tries) == {1, 2, 3}


def test_what_was_cut_half_way_is_removed(tmp_path):
    checkpoint.save(tmp_path, 1, TENSORS, {})
    (tmp_path / '.best.json.99.tmp').write_text('half')
    (tmp_path / '.step-00000002.99.tmp').mkdir()
    checkpoint.remove_unfinished(tmp_path)
    assert os.listdir(tmp_path) == ['step-00000001']


# ---- in the background

def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    gate, original = threading.Event(), os.fsync
    monkeypatch.setattr(os, 'fsync', lambda handle: gate.wait(20) and original(handle))
    writer = checkpoint.Writer(tmp_path)
    writer.save(1, TENSORS, {'step': 1}, best=True)
    assert checkpoint.newest(tmp_path) is None
    gate.set()
    writer.wait()
    assert checkpoint.find(tmp_path, 'best').state == {'step': 1
                                                       } and checkpoint.newest(tmp_path).best
    for step in (2, 3, 4):
        writer.save(step, TENSORS, {'step': step})
    writer.settle()
    assert [path.name[-1] for path in sorted(tmp_path.glob('step-*'))] == ['1', '3', '4']


def test_a_failed_save_in_the_background_is_told_once(tmp_path, monkeypatch):
    writer = checkpoint.Writer(tmp_path)
    writer.save(1, {'w': np.array([np.nan])}, {})
    writer.settle()
    with pytest.raises(CheckpointError, match='w is no longer finite at step 1'):
        writer.save(2, TENSORS, {})
    writer.save(3, TENSORS, {})
    writer.wait()
    assert checkpoint.newest(tmp_path).path.name == 'step-00000003'


def test_a_process_that_ends_waits_for_its_checkpoint(tmp_path):
    code = """if True:
        import os, sys, time
        import numpy as np
        from gluon_a2.run import checkpoint
        original = os.fsync
        os.fsync = lambda handle: (time.sleep(0.2), original(handle))
        checkpoint.Writer(sys.argv[1]).save(1, {'w': np.zeros(3)}, {})"""
    subprocess.run([sys.executable, '-c', code, str(tmp_path)], check=True, timeout=60, cwd=ROOT)
    assert checkpoint.newest(tmp_path).path.name == 'step-00000001'


def test_missing_ones_are_named(tmp_path):
    assert checkpoint.newest(tmp_path / 'none') is None
    with pytest.raises(CheckpointError, match='holds no valid checkpoint'):
        checkpoint.find(tmp_path, 'last')
    with pytest.raises(CheckpointError, match='holds no valid checkpoint'):
        checkpoint.find(tmp_path, 'best')
    with pytest.raises(CheckpointError, match="no checkpoint 'nowhere': say 'last' or 'best'"):
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


# ---- power cuts

early = pytest.mark.skipif(sys.version_info < (3, 10), reason='pathlib keeps functions of its own')


@early
def test_a_power_cut_loses_no_announced_checkpoint(tmp_path):
    """Some of those of proofs/lost_writes.py."""
    found = list(lost_writes.histories(40, 2, tmp_path))
    assert [(number, wrong) for number, _, wrong, *_ in found if wrong] == []
    assert len({before[0] for _, before, *_ in found}) > 5


@early
@pytest.mark.parametrize('what', [
    'tensors.safetensors', 'manifest.json', 'step-00000001.PID.tmp', 'checkpoints', 'run'])
def test_every_sync_is_needed(tmp_path, monkeypatch, what):
    """Without it some power cut loses a checkpoint."""
    record, own = lost_writes.record, what.replace('PID', str(os.getpid()))

    def without(*given):
        operations, expected = record(*given)
        return [('sync', '.') if name == 'sync' and path.endswith(own) else (name, path, *rest)
                for name, path, *rest in operations], expected
    monkeypatch.setattr(lost_writes, 'record', without)
    assert any(wrong for _, _, wrong, *_ in lost_writes.histories(400, 2, tmp_path))
