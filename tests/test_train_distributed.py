"""Real ranks under Horovod: they compute what one process does, and none of them fails alone."""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import tiny_zoo
from loading import LENDS
from test_launch_watchdog import assert_all_gone, of_job

from gluon_a2.data import RecordWriter, batches, epoch_order, open_source
from gluon_a2.machine.ranks import PREEMPTED
from gluon_a2.run import checkpoint
from gluon_a2.train.distributed import Group, name_ranks

RANK, ENVIRON = tiny_zoo.program('proofs/faulty_rank.py')
# 40 images in steps of 4 × 3: the last step of an epoch has 4 images, so most ranks have none in
# it.
FLAGS = [
    '--recipe', 'digits', '--model', 'a2_tiny', '--classes', '12', '--input-size', '16',
    '--batch-size', '3', '--num-epochs', '2', '--mixup', '--dropout', '0.3', '--label-smoothing',
    '0.1', '--lr', '0.02', '--log-interval', '1', '--save-steps', '1', '-j', '0', '--max-damaged',
    '0', '--exact-sums', '--freeze', 'conv1,conv2_.*bn', '--lr-mult', '.*=0.5,classifier=1',
    '--ema', '0.9', '--clip-gradient', '0.5']
STEPS = 8  # 2 epochs of ⌈40 / 12⌉

pytest.importorskip('horovod', reason='Horovod is not installed: make horovod')


def run(folder, images, ranks, *flags, code=0, fault=None, starter=None):
    """Train the tiny job on `ranks` ranks at a global batch of 12 unless told otherwise; (stdout,
    stderr)."""
    environment = {**ENVIRON, 'OMP_NUM_THREADS': '1', **({'A2_FAULT': fault} if fault else {})}
    several = ['-np', ranks] if ranks > 1 and not starter else []
    command = [*(starter or []), *RANK, *FLAGS, '--data-dir', images, '--save-dir', folder,
               *several, *flags]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=300, env=environment)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def newest(folder):
    return checkpoint.find(folder / 'checkpoints', 'last')


def distance(folder, other):
    """Largest distance of parameters, of optimizer states and of averages, relative to their
    norms."""
    ours, theirs = newest(folder).tensors, newest(other).tensors
    return max(
        _norm(ours[n].astype(np.float64) - theirs[n]
              for n in ours if n.startswith(kind)) / _norm(theirs[n].astype(np.float64)
                                                           for n in theirs if n.startswith(kind))
        for kind in {name.split('/')[0] for name in ours})


def _norm(arrays):
    return np.sqrt(sum((array ** 2).sum() for array in arrays))


def lines(folder):
    return [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]


@pytest.fixture(scope='module')
def alone(tmp_path_factory, images):
    """One process with 4 micro-batches."""
    folder = tmp_path_factory.mktemp('ranks') / 'alone'
    run(folder, images, 1, '--accumulate', 4)
    return folder


@pytest.fixture(scope='module')
def pair(tmp_path_factory, images):
    """Two ranks, undisturbed; what they said is beside them."""
    folder = tmp_path_factory.mktemp('ranks') / 'pair'
    _, err = run(folder, images, 2, '--accumulate', 2)
    folder.with_suffix('.err').write_text(err)
    return folder


TRIO = 3, '--no-exact-sums', '--deterministic', '--num-epochs', 1


@pytest.fixture(scope='module')
def trio(tmp_path_factory, images):
    """Three ranks that sum in float32, where the order of a sum shows."""
    folder = tmp_path_factory.mktemp('ranks') / 'trio'
    run(folder, images, *TRIO)
    return folder


# ---- the same computation

# proofs/equivalence.py has both optimizers and three ranks, too

@pytest.mark.parametrize('ranks', [2, 4])
def test_ranks_compute_what_micro_batches_do(tmp_path, images, alone, pair, ranks):
    folder = pair
    if ranks == 4:
        folder = tmp_path / 'run'
        run(folder, images, ranks)
    assert newest(folder).state['at']['step'] == STEPS
    assert distance(folder, alone) <= 1e-6
    assert 'average/fc_weight' in newest(folder).tensors
    ours, theirs = lines(folder), lines(alone)
    assert [line['step'] for line in ours] == [line['step'] for line in theirs]
    assert [line.get('val_images') for line in ours] == [line.get('val_images') for line in theirs]
    assert ours[-1]['val_images'] == 13


def test_half_precision_on_the_wire_is_another_sum(tmp_path, images, trio):
    run(tmp_path / 'run', images, *TRIO, '--compression', 'fp16')
    assert 0 < distance(tmp_path / 'run', trio) < 0.5


def test_three_ranks_that_sum_in_float32_repeat_to_the_bit(tmp_path, images, trio):
    run(tmp_path / 'run', images, *TRIO)
    assert distance(tmp_path / 'run', trio) == 0
    assert (tmp_path / 'run' / 'log.jsonl').read_bytes() == (trio / 'log.jsonl').read_bytes()


def test_sums_in_float32_are_those_of_micro_batches_but_for_rounding(tmp_path, images):
    """One step: after a few, this network with BatchNorm over so few images has blown any rounding
    up."""
    flags = '--no-exact-sums', '--num-epochs', 1, '--batch-size', 10, '--warmup-epochs', 0
    run(tmp_path / 'one', images, 1, '--accumulate', 4, *flags)
    run(tmp_path / 'two', images, 2, '--accumulate', 2, *flags)
    assert newest(tmp_path / 'one').state['at']['step'] == 1
    assert distance(tmp_path / 'two', tmp_path / 'one') <= 1e-6


def test_under_horovodrun_unchanged(tmp_path, images, alone):
    # It imports MXNet to ask what it was built with.
    horovodrun = ['env', f'PYTHONPATH={LENDS}', Path(sys.executable).with_name('horovodrun'), '-np',
                  '2', '--gloo']
    run(tmp_path / 'run', images, 2, '--accumulate', 2, starter=horovodrun)
    assert distance(tmp_path / 'run', alone) <= 1e-6


# ---- going on with another number of ranks

def test_every_share_of_every_step_visits_each_sample_once():
    order = epoch_order(101, 7, 3)
    for size in (1, 2, 3, 4):
        for start in range(0, 101, 12):
            micro = batches(order, 3, start)
            seen = np.concatenate([
                np.concatenate(micro[rank::size]) for rank in range(size) if micro[rank::size]])
            assert sorted(seen.tolist()) == sorted(order[start:].tolist())


# proofs/resume.py has all pairs of 1, 2 and 4
def test_a_stopped_run_goes_on_with_another_number_of_ranks(tmp_path, images, alone):
    _, err = run(tmp_path / 'run', images, 2, '--accumulate', 2, '--max-restarts', 1,
                 fault='1 2 SIGTERM', code=PREEMPTED)  # in the first epoch
    assert 'stopped on request at step 3' in err
    assert newest(tmp_path / 'run').state['at']['step'] == 3
    run(tmp_path / 'run', images, 1, '--accumulate', 4, '--resume')
    assert distance(tmp_path / 'run', alone) <= 1e-6
    assert [line['step']
            for line in lines(tmp_path / 'run')] == [line['step'] for line in lines(alone)]


def test_another_global_batch_is_refused(tmp_path, images, alone):
    shutil.copytree(alone, tmp_path / 'run')
    _, err = run(tmp_path / 'run', images, 1, '--resume', code=2)
    assert ('was trained with a global batch of 12, not 3: choose --batch-size and '
            '--accumulate') in err


@pytest.mark.parametrize('number, to_all, code, said', [
    (signal.SIGTERM, True, PREEMPTED, r'stopped on request at step \d+, which is saved'),
    (signal.SIGINT, False, 130, 'interrupted: --resume with --save-dir .* goes on')])
def test_a_signal_from_outside_loses_nothing(tmp_path, images, number, to_all, code, said):
    """A scheduler's signal comes to every process of the job, data workers included; Ctrl-C in a
    terminal only to the launcher, since the ranks have sessions of their own."""
    folder, environment = tmp_path / 'run', {**ENVIRON, 'TOY_JOB': str(tmp_path)}
    command = [*RANK, *FLAGS, '--data-dir', images, '--save-dir', folder, '-np', 2, '-j', 1,
               '--num-epochs', 1000]
    with subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, encoding='utf-8') as job:
        until = time.monotonic() + 120
        while not list(folder.glob('checkpoints/step-00000002')) and time.monotonic() < until:
            time.sleep(0.1)
        for pid in of_job(tmp_path) if to_all else [job.pid]:
            os.kill(pid, number)
        err = job.communicate(timeout=120)[1]
    assert_all_gone(tmp_path)
    assert job.returncode == code, err
    assert re.search(said, err) and 'Traceback' not in err and 'error' not in err, err
    assert newest(folder).state['at']['step'] >= 2


# ---- a look before a long run

def test_a_check_names_ranks_and_times_a_sum_and_leaves_nothing(tmp_path, images):
    out, _ = run(tmp_path / 'run', images, 2, '--check', 0.5)
    found = re.findall(r'^\[0 \S+\] rank (\d) on \S+: cpu\(0\), 1 CPU threads, \S+ GB of', out,
                       re.MULTILINE)
    assert found == ['0', '1']
    assert re.search(r'the same code, recipe and data everywhere: 40 and \d+ samples\n\S+ \S+ all-'
                     r'reduce of 0.5 MB over 2 ranks: \S+ ms, algbw \S+ GB/s, busbw \S+ GB/s', out)
    assert not (tmp_path / 'run').exists()


# ---- secrets and ports

def listening(pids):
    """Addresses, as in /proc/net/tcp, at which these processes listen."""
    tables = [line.split() for name in ('tcp', 'tcp6')
              for line in Path(f'/proc/net/{name}').read_text().splitlines()[1:]]
    where = {f'socket:[{row[9]}]': row[1].partition(':')[0] for row in tables if row[3] == '0A'}
    held = set()
    for pid in pids:
        for link in Path(f'/proc/{pid}/fd').glob('*'):
            with contextlib.suppress(OSError):
                held.add(os.readlink(link))
    return [where[socket] for socket in held if socket in where]


# In place of Python's os.urandom: all secrets are the same, and leave a mark that they were asked.
NO_SECRET = """
import os
def urandom(count):
    open({mark!r}, 'a').close()
    return b'\\xab' * count
os.urandom = urandom
"""


def test_secrets_are_nowhere_to_be_read_and_ports_open_to_nobody_else(tmp_path, images):
    """Of two ranks, one of them behind a remote shell whose command line stays."""
    secret, shell, mark = b'ab' * 16, tmp_path / 'shell', tmp_path / 'asked'
    (tmp_path / 'sitecustomize.py').write_text(NO_SECRET.format(mark=str(mark)))
    shell.write_text('#!/bin/sh\nsh -c "$2"\nexit $?\n')
    shell.chmod(0o755)
    path = os.pathsep.join(filter(None, [str(tmp_path), ENVIRON.get('PYTHONPATH')]))
    command = [*RANK, *FLAGS, '--data-dir', images, '--save-dir', tmp_path / 'run', '-np', 2, '-H',
               'localhost:1,other:1', '--remote-shell', f'{shell} {{host}}', '--network-interface',
               'lo', '--num-epochs', 1]
    commands, ports = set(), []
    with open(tmp_path / 'said', 'w') as said, subprocess.Popen(
            list(map(str, command)), stdout=said, stderr=said,
            env={**ENVIRON, 'PYTHONPATH': path, 'TOY_JOB': str(tmp_path)}) as job:
        while job.poll() is None:
            pids, trains = of_job(tmp_path), any((tmp_path / 'run').glob('checkpoints/step-*'))
            ports += listening(pids)
            assert not (trains and listening(pids))
            for pid in pids:
                with contextlib.suppress(OSError):
                    commands |= {Path(f'/proc/{pid}/{name}').read_bytes()
                                 for name in ('cmdline', 'environ')}
            time.sleep(0.2)
    assert job.returncode == 0, (tmp_path / 'said').read_text()
    assert mark.exists() and any(b'other' in line for line in commands)
    for text in [*commands, *(path.read_bytes() for path in tmp_path.rglob('*') if path.is_file())]:
        assert secret not in text
    assert set(ports) == {'0100007F'}


# ---- faults: proofs/faults.py has each kind on each of four ranks, test_launch_watchdog.py on toys

@pytest.mark.parametrize('rank, kind, reason', [(0, 'SIGKILL', 'died'), (1, 'raise', 'a defect')])
def test_a_rank_that_fails_takes_the_job_down_and_is_named(tmp_path, images, rank, kind, reason):
    _, err = run(tmp_path / 'run', images, 2, '--rank-timeout', 4, fault=f'{rank} 3 {kind}', code=1)
    assert re.search(rf'^error: .*rank {rank}\b.*{reason}', err, re.MULTILINE), err
    fault = json.loads((tmp_path / 'run' / 'fault.json').read_text())
    assert fault['rank'] == rank
    # the third may have been half written
    assert newest(tmp_path / 'run').state['at']['step'] in (2, 3)
    left = subprocess.run(['pgrep', '-f', str(tmp_path / 'run')], capture_output=True, text=True)
    assert left.stdout == ''


def test_a_rank_with_nan_stops_all_and_nothing_of_it_is_saved(tmp_path, images):
    _, err = run(tmp_path / 'run', images, 2, '--max-restarts', 3, fault='1 3 nan', code=2)
    errors = [line for line in err.splitlines() if 'error: ' in line]
    assert len(errors) == 1 and 'rank 1: the loss is nan at step 3' in errors[0]
    assert newest(tmp_path / 'run').state['at']['step'] == 3


# proofs/kills.py kills any rank at any moment
def test_a_killed_rank_is_restarted_and_the_run_ends_bit_identical(tmp_path, images, pair):
    _, err = run(tmp_path / 'run', images, 2, '--accumulate', 2, '--max-restarts', 1,
                 fault='0 4 SIGKILL')
    assert 'restart 1 of 1' in err
    assert distance(tmp_path / 'run', pair) == 0
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (pair / 'log.jsonl').read_text()


def test_a_rank_killed_before_there_is_a_run_is_started_again(tmp_path, images, pair):
    """The others lose it in a collective operation, which is no mistake of the user's."""
    _, err = run(tmp_path / 'run', images, 2, '--accumulate', 2, '--max-restarts', 1,
                 fault='1 0 early')
    assert 'restart 1 of 1: from the beginning' in err
    assert distance(tmp_path / 'run', pair) == 0


@pytest.mark.parametrize('flag, value, sentence', [
    ('--classes', 5, 'labels are outside 0…4'), ('--hue', 300, '--hue must be 0 to 90, not 300')])
def test_a_mistake_that_all_ranks_make_is_said_once(tmp_path, images, flag, value, sentence):
    _, err = run(tmp_path / 'run', images, 2, flag, value, code=2)
    errors = [line for line in err.splitlines() if 'error: ' in line]
    assert len(errors) == 1 and sentence in errors[0] and 'Traceback' not in err


def test_a_warning_that_all_ranks_could_give_is_given_once(pair):
    err = pair.with_suffix('.err').read_text()
    assert err.count('the data has labels up to 9') == 1
    assert err.count('of the 12 classes have no sample') == 1


def test_damaged_images_are_named_once_left_out_and_capped_over_all_ranks(tmp_path, images):
    source, bad = open_source(images, 'train'), (3, 17, 31)
    with RecordWriter(tmp_path / 'train.rec') as writer:
        for i in range(len(source)):
            writer.write(b'no image' if i in bad else source.read(i), int(source.labels[i]))
    shutil.copy(images / 'val.rec', tmp_path / 'val.rec')
    _, err = run(tmp_path / 'run', tmp_path, 2, '--num-epochs', 1, '--max-damaged', 3)
    assert sorted(re.findall(r'left out \S+train.rec#(\d+)', err)) == sorted(map(str, bad))
    assert [Path(name).name for name in newest(tmp_path / 'run').state['damaged']] == [
        'train.rec#17', 'train.rec#3', 'train.rec#31']
    _, err = run(tmp_path / 'capped', tmp_path, 2, '--max-damaged', 2, code=2)
    assert err.count('error: ') == 1 and '3 damaged samples, the last of them' in err


# ---- one process

def test_alone_everything_is_the_identity():
    group = Group()
    assert (group.rank, group.size, group.first) == (0, 1, True)
    assert group.all_gather({'a': 1}, 'x') == [{'a': 1}] and group.broadcast('b', 'x') == 'b'
    assert group.all_reduce(np.arange(3.0), 'x').tolist() == [0, 1, 2]


def test_each_array_that_comes_is_progress():
    """Rank 0's parameters are some hundred broadcasts, which take long over a slow network."""
    group, told = Group(), []
    group.size, group.heart, group._at = 2, Mock(), (7, 'compute')
    group._hvd = Mock(HorovodInternalError=OSError)
    group.heart.waiting.side_effect = lambda step: told.append(('waits', step))
    group.heart.beat.side_effect = lambda step, phase: told.append(('beats', step, phase))
    arrays = [Mock() for _ in range(3)]
    for number, array in enumerate(arrays):
        array.wait_to_read.side_effect = lambda number=number: told.append(number)
    group.broadcast_arrays(arrays)
    assert [call.args for call in group._hvd.broadcast_.call_args_list] == [
        (array,) for array in arrays]
    assert told[-9:] == [what for number in range(3)
                         for what in (('waits', 7), number, ('beats', 7, 'compute'))]


def test_ranks_are_named_in_a_sentence():
    assert name_ranks([3]) == 'rank 3' and name_ranks([0, 3, 5]) == 'ranks 0, 3 and 5'


@pytest.mark.parametrize('hosts, said', [
    (['a'] * 6, 'ranks 1, 3 and 5'),
    (['a', 'a', 'b', 'b', 'c', 'c'], 'rank 1 on a, rank 3 on b, rank 5 on c'),
    (['a', 'b', 'b', 'b', 'a', 'a'], 'ranks 1 and 3 on b, rank 5 on a')])
def test_ranks_of_several_hosts_are_named_with_theirs(hosts, said):
    group = Group()
    group._hosts = hosts
    assert group.name([1, 3, 5]) == said
