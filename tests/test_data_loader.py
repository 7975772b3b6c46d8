"""The loader: the same pixels whoever makes them, damage accounted for, and nothing left behind
however it ends."""
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import cv2
import numpy as np
import pytest

from gluon_a2.data import (
    DamageLog,
    ImageError,
    Loader,
    Preprocessing,
    TrainTransform,
    WorkerError,
    batches,
    decode,
    epoch_order,
    sample_rng,
)
from gluon_a2.errors import UserError

COUNT, SIZE, SEED = 37, 23, 5
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Pictures:
    """Noise of various shapes; `damaged` says which ones cannot be read."""

    classes = ('a', 'b', 'c')

    def __init__(self, damaged=()):
        self.damaged = damaged
        self.labels = np.arange(COUNT) % 3

    def __len__(self):
        return COUNT

    def read(self, i):
        if i in self.damaged:
            raise ImageError(f'the dog ate {i}')
        shape = (29 + i, 61 - i, 3)
        return cv2.imencode('.png',
                            np.random.default_rng(i).integers(0, 256, shape,
                                                              np.uint8))[1].tobytes()

    def name(self, i):
        return f'picture {i}'


class Murderous(Pictures):
    """Reading one of them kills the process, as the system does when memory runs out."""

    def read(self, i):
        if i == 11:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(i)


class Spoilt(Pictures):
    """Reading one of them raises."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def read(self, i):
        if i == 11:
            raise self.error
        return super().read(i)


TRAIN = TrainTransform(Preprocessing(SIZE))


def expected(index, epoch):
    """One sample's pixels, straight from the functions beneath."""
    pixels = TRAIN(decode(Pictures().read(index)), sample_rng(SEED, epoch, index))
    return TRAIN.preprocessing.normalise(pixels)


def loaded(loader, index_batches, epoch):
    """{index: pixels} of all batches, each checked on the way."""
    found = {}
    for indices, batch in zip(index_batches, loader.load(index_batches, epoch)):
        assert batch.images.dtype == np.float32 and batch.images.shape == (len(indices), 3, SIZE,
                                                                           SIZE)
        assert batch.indices.tolist() == list(indices)
        assert batch.labels.tolist() == [i % 3 for i in indices]
        assert batch.labels.dtype == batch.indices.dtype == np.int64 and batch.damaged == []
        found.update(zip(batch.indices.tolist(), batch.images.copy()))
    return found


def shared_memory():
    """What this process shares with workers, which has no name from the start on."""
    with open('/proc/self/maps') as file:
        return set(re.findall(r'/dev/shm/(pym-\S+)', file.read()))


def named(pid):
    """The shared memory of a process that has a name, by which it would outlive the process."""
    return [name for name in os.listdir('/dev/shm') if name.startswith(f'pym-{pid}-')]


def children(pid='self'):
    with open(f'/proc/{pid}/task/{os.getpid() if pid == "self" else pid}/children') as file:
        return set(map(int, file.read().split()))


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize('workers', [0, 1, 3])
def test_pixels_depend_on_seed_epoch_and_index_alone(workers):
    with Loader(Pictures(), TRAIN, workers, SEED) as loader:
        for epoch, size, start in ((0, 7, 0), (1, 5, 13), (1, 37, 0), (2, 1, 30)):
            order = epoch_order(COUNT, SEED, epoch)
            found = loaded(loader, batches(order, size, start), epoch)
            assert list(found) == order[start:].tolist()
            for index, pixels in found.items():
                np.testing.assert_array_equal(pixels, expected(index, epoch))


def test_epochs_differ():
    assert (expected(3, 0) != expected(3, 1)).any()


@pytest.mark.parametrize('workers', [0, 2])
def test_evaluation_and_batches_of_any_kind(workers):
    transform = Preprocessing(SIZE)
    with Loader(Pictures(), transform, workers) as loader:
        assert list(loader.load([], 0)) == []
        empty, twice = [(batch.images.copy(), batch.labels)
                        for batch in loader.load([[], [8, 8]], 0)]
        assert empty[0].shape == (0, 3, SIZE, SIZE) and empty[1].tolist() == []
        pixels = transform.normalise(transform(decode(Pictures().read(8))))
        np.testing.assert_array_equal(twice[0], [pixels, pixels])


@pytest.mark.parametrize('workers', [1, 2])
def test_images_stay_until_the_next_batch(workers):
    index_batches = batches(np.arange(COUNT), 4)
    with Loader(Pictures(), TRAIN, workers, SEED) as loader:
        for batch in loader.load(index_batches, 0):
            time.sleep(0.05)  # time enough for a worker to spoil it
            for index, pixels in zip(batch.indices, batch.images):
                np.testing.assert_array_equal(pixels, expected(index, 0))


@pytest.mark.parametrize('workers', [0, 2])
def test_damaged_samples_are_left_out(workers):
    with Loader(Pictures(damaged=(0, 2, 3, 5, 6)), TRAIN, workers, SEED) as loader:
        seen = []
        for batch in loader.load([[4, 2, 0, 1], [5, 6], [7]], 0):
            seen.append((batch.indices.tolist(), batch.labels.tolist(), batch.damaged))
            assert batch.images.shape == (len(batch.indices), 3, SIZE, SIZE)
            for index, pixels in zip(batch.indices, batch.images):
                np.testing.assert_array_equal(pixels, expected(index, 0))
    assert seen == [([4, 1], [1, 1], [('picture 2', 'the dog ate 2'),
                                      ('picture 0', 'the dog ate '
                                       '0')]),
                    ([], [], [('picture 5', 'the dog ate 5'), ('picture 6', 'the dog ate 6')]),
                    ([7], [1], [])]


def test_damage_log(caplog):
    log = DamageLog(total=299)
    assert log.cap == 2
    with caplog.at_level(logging.WARNING):
        log.add([('x', 'bad')])
        log.add([('x', 'bad'), ('y', 'worse')])
        log.add([])
    assert [record.getMessage() for record in caplog.records] == ['left out x: bad',
                                                                  'left out y: worse']
    assert len(log.names) == 2
    with pytest.raises(UserError, match='3 damaged samples, the last of them z, are more than the '
                                        '2 .*`max_damaged`'):
        log.add([('z', 'bad')])
    with pytest.raises(UserError):
        DamageLog(total=10 ** 6, cap=0).add([('x', 'bad')])


def test_one_bad_sample_of_a_few_is_allowed():
    log = DamageLog(total=7)
    log.add([('x', 'bad')])
    with pytest.raises(UserError, match='2 damaged samples, .* more than the 1 allowed'):
        log.add([('y', 'bad')])


@pytest.mark.parametrize('workers', [0, 2])
def test_leaving_halfway_and_starting_again(workers):
    with Loader(Pictures(), TRAIN, workers, SEED) as loader:
        abandoned = loader.load(batches(np.arange(COUNT), 3), 0)
        next(abandoned)
        assert len(loaded(loader, batches(np.arange(COUNT), 3), 1)) == COUNT
        with pytest.raises(RuntimeError, match='ended'):
            next(abandoned)
        never_begun = loader.load(batches(np.arange(COUNT), 3), 0)
        for _ in loader.load(batches(np.arange(COUNT), 3), 0):
            break
        with pytest.raises(RuntimeError, match='ended'):
            next(never_begun)
        found = loaded(loader, batches(np.arange(COUNT), 5), 2)  # larger batches: new memory
        np.testing.assert_array_equal(found[36], expected(36, 2))


def test_workers_are_kept():
    with Loader(Pictures(), TRAIN, 2, SEED) as loader:
        list(loader.load([[1, 2]], 0))
        first = children()
        list(loader.load([[3]], 1))
        assert children() == first


def test_workers_import_neither_mxnet_nor_sklearn():
    code = 'import sys, gluon_a2.data; print({"mxnet", "sklearn"} & set(sys.modules))'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True,
                          text=True).stdout == 'set()\n'


def test_closed_loader_leaves_nothing():
    processes = children()
    loader = Loader(Pictures(), TRAIN, 2, SEED)
    halfway = loader.load(batches(np.arange(COUNT), 3), 0)
    next(halfway)
    ours = children() - processes
    assert len(ours) >= 2 and shared_memory() and not named(os.getpid())
    loader.close()
    assert not any(map(alive, ours - tracker()))
    del halfway
    assert not named(os.getpid())
    loader.close()  # again does no harm


def tracker():
    """The resource tracker is Python's own, and lives as long as this process."""
    from multiprocessing import resource_tracker
    return {resource_tracker._resource_tracker._pid}


def test_killed_worker_is_named():
    with Loader(Murderous(), TRAIN, 2, SEED) as loader:
        with pytest.raises(WorkerError, match=r'data worker \d \(process \d+\) was killed by '
                                              'SIGKILL.*fewer `num_data_workers`'):
            list(loader.load(batches(np.arange(COUNT), 5), 0))
        with pytest.raises(WorkerError):  # still: never a hang
            list(loader.load(batches(np.arange(COUNT), 5), 0))


def test_all_workers_killed_between_batches():
    with Loader(Pictures(), TRAIN, 2, SEED) as loader:
        before = children()
        index_batches = batches(np.arange(COUNT), 3)
        running = loader.load(index_batches, 0)
        next(running)
        for pid in children() - before - tracker():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match='SIGKILL'):
            for _ in range(len(index_batches)):
                next(running)


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(('error', 'kind', 'message'), [
    (UserError('mend the file'), UserError, '^mend the file$'),
    (ValueError('a defect'), Exception, 'a defect')])
def test_errors_in_workers_arrive(workers, error, kind, message):
    with Loader(Spoilt(error), TRAIN, workers, SEED) as loader:
        with pytest.raises(kind, match=message):
            list(loader.load(batches(np.arange(COUNT), 5), 0))
        assert len(list(loader.load([[1, 2], [3]], 0))) == 2  # and it goes on


@pytest.mark.parametrize(('workers', 'message'), [
    (-1, '`num_data_workers` must be 0 to .*, not -1'),
    (1000, '`num_data_workers` must be 0 to .*, not 1000: each is a process')])
def test_bad_arguments(workers, message):
    with pytest.raises(UserError, match=message):
        Loader(Pictures(), TRAIN, workers)


SCRIPT = textwrap.dedent('''
    import sys, time
    import numpy as np
    from gluon_a2.data import Loader, Preprocessing, TrainTransform
    from test_data_loader import Pictures
    if __name__ == '__main__':
        loader = Loader(Pictures(), TrainTransform(Preprocessing(23)), 2)
        running = loader.load([np.arange(9)] * 10 ** 6, 0)
        next(running)
        print('ready', flush=True)
        {then}
''')


def hear_interrupts():
    """Where the tests run in a shell's background, SIGINT is ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start_script(tmp_path, then):
    path = tmp_path / 'script.py'
    path.write_text(SCRIPT.format(then=then))
    paths = os.pathsep.join([ROOT, os.path.join(ROOT, 'tests')])
    script = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, 'PYTHONPATH': paths}, start_new_session=True, preexec_fn=hear_interrupts)
    assert script.stdout.readline() == 'ready\n'
    return script


@pytest.mark.parametrize(('then', 'send', 'code'), [
    ('', None, 0), ('sys.exit(3)', None, 3), ('1 / 0', None, 1),
    ('[0 for _ in running]', signal.SIGINT, -signal.SIGINT),
    ('time.sleep(99)', signal.SIGTERM, -signal.SIGTERM),
    ('time.sleep(99)', signal.SIGKILL, -signal.SIGKILL),
    ('[0 for _ in running]', signal.SIGKILL, -signal.SIGKILL)])
def test_nothing_is_left_however_it_ends(tmp_path, then, send, code):
    """Signals of the keyboard go to the whole group, as from a terminal; the others to the parent
    alone."""
    script = start_script(tmp_path, then)
    workers = children(script.pid)
    if send == signal.SIGINT:
        os.killpg(script.pid, send)
    elif send:
        script.send_signal(send)
    try:
        _, errors = script.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        # or it would take the cores from all tests that follow
        os.killpg(script.pid, signal.SIGKILL)
        raise
    assert script.returncode == code
    assert wait_for(lambda: not any(map(alive, workers)))
    assert not named(script.pid)
    assert 'leaked' not in errors and errors.count('Traceback') == (send == signal.SIGINT
                                                                    or code == 1)


def test_sigterm_to_the_whole_group_reaches_the_parent_alone(tmp_path):
    """As schedulers send it: the parent goes on to the next batch and ends as it wants to."""
    script = start_script(tmp_path, then=textwrap.dedent('''
        import signal
            told = []
            signal.signal(signal.SIGTERM, lambda *_: told.append(1))
            print('set', flush=True)
            for _ in running:
                if told:
                    after = sum(1 for _, batch in zip(range(5), running))
                    sys.exit(75 if after == 5 else 1)
    ''').strip())
    assert script.stdout.readline() == 'set\n'
    os.killpg(script.pid, signal.SIGTERM)
    _, errors = script.communicate(timeout=20)
    assert script.returncode == 75, errors
    assert errors == ''
