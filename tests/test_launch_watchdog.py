"""The watchdog: each way to lose a rank ends all of them, soon, with one line; a healthy run is
left alone."""
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gluon_a2.errors import UserError
from gluon_a2.launch import heart as hearts
from gluon_a2.launch.heart import Heart
from gluon_a2.launch.protocol import state

TOY = Path(__file__).with_name('toy_rank.py')
TIMEOUT, SLACK = 1.5, 15


def of_job(folder):
    """Processes that work for the job in `folder`: each inherits the mark in its environment."""
    mark, found = f'TOY_JOB={folder}'.encode(), []
    for path in Path('/proc').glob('[0-9]*'):
        try:
            if mark in (path / 'environ').read_bytes().split(b'\0') and b') Z ' not in (
                    path / 'stat').read_bytes():
                found.append(int(path.name))
        except OSError:  # gone, or somebody else's
            continue
    return found


def assert_all_gone(folder, seconds=10):
    until = time.monotonic() + seconds
    while of_job(folder) and time.monotonic() < until:
        time.sleep(0.05)
    left = of_job(folder)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def start(folder, *flags, size=3):
    """Start `size` ranks; [Popen]."""
    ranks = []
    for rank in range(size):
        with open(folder / f'err-{rank}', 'wb') as err:
            ranks.append(
                subprocess.Popen([
                    sys.executable,
                    str(TOY), '--save-dir',
                    str(folder), '--timeout',
                    str(TIMEOUT), *map(str, flags)
                ], stdin=subprocess.DEVNULL, stdout=err, stderr=err, start_new_session=True,
                                 env=dict(os.environ, TOY_JOB=str(folder), HOROVOD_RANK=str(rank),
                                          HOROVOD_SIZE=str(size), HOROVOD_LOCAL_SIZE=str(size))))
    return ranks


def finish(folder, ranks):
    """(exit codes, everything they said), once nothing of the job is left."""
    codes = [rank.wait(timeout=60) for rank in ranks]
    assert_all_gone(folder)
    return codes, ''.join((folder / f'err-{rank}').read_text() for rank in range(len(ranks)))


@pytest.mark.parametrize('at_rank', [0, 1])
@pytest.mark.parametrize('fault, reason', [
    ('kill', 'died at step 3 (compute) without a word'),
    ('stop', 'is frozen: no sign of life for 1.5 s at step 3 (compute)'),
    ('sleep', 'keeps the others waiting: no progress for'),
    ('raise', 'ValueError: the dog ate it'),
    ('exit', 'ended early at step 3 (compute), without finishing')])
def test_a_lost_rank_ends_all(tmp_path, fault, reason, at_rank):
    begun = time.monotonic()
    codes, said = finish(tmp_path, start(tmp_path, '--fault', fault, '--at-rank', at_rank))
    assert time.monotonic() - begun < TIMEOUT + SLACK
    lines = [line for line in said.splitlines() if line.startswith('error:')]
    assert len(lines) == 1 and lines[0].startswith(f'error: rank {at_rank} on '
                                                   f'{socket.gethostname()}'), said
    assert reason in lines[0]
    told = json.loads((tmp_path / 'fault.json').read_text())
    assert (told['rank'], told['step'], told['host']) == (at_rank, 3, socket.gethostname())
    assert f'error: {told["reason"]}' == lines[0]
    own = {'raise': 1, 'exit': 0}.get(fault, -signal.SIGKILL)
    assert codes == [own if rank == at_rank else -signal.SIGKILL for rank in range(3)]


def test_ranks_that_wait_for_each_other(tmp_path):
    codes, said = finish(tmp_path, start(tmp_path, '--fault', 'hang'))
    assert said == ('error: no rank advances: all of them have waited for each other for 1.5 s at '
                    'step 3 (network?)\n')
    assert codes == [-signal.SIGKILL] * 3
    assert json.loads((tmp_path / 'fault.json').read_text())['rank'] is None


@pytest.mark.parametrize('at_rank', [0, 1])
def test_a_rank_without_its_watchdog_ends(tmp_path, at_rank):
    codes, said = finish(tmp_path, start(tmp_path, '--fault', 'unwatched', '--at-rank', at_rank))
    assert f'error: the watchdog of rank {at_rank} has ended: ending this rank' in said
    assert codes[at_rank] == 1 and 0 not in codes
    lost = 'has lost the watchdog of rank 0' if at_rank == 0 else 'rank 1 on'
    assert lost in said


@pytest.mark.parametrize('fault', ['none', 'lockstep', 'leave', 'alone'])
def test_what_is_no_fault(tmp_path, fault):
    """A run in order; all busy for three timeouts, and none waits; one that is done before the
    others; one that draws for two timeouts while the others wait."""
    codes, said = finish(tmp_path, start(tmp_path, '--fault', fault, '--at-rank', 1, '--steps', 30))
    assert (codes, said) == ([0, 0, 0], '')
    assert not (tmp_path / 'fault.json').exists()


def test_a_watchdog_that_stands_still_is_ended_with_its_rank(tmp_path):
    codes, said = finish(tmp_path, start(tmp_path, '--fault', 'overlooked', '--at-rank', 1))
    assert 'error: the watchdog of rank 1 gave no sign of life for 1.5 s: ending this rank' in said
    assert codes[1] == 1 and 0 not in codes


def test_drawing_for_ever_is_a_fault(monkeypatch):
    """To be alive is no progress any more, after some timeouts."""
    monkeypatch.setattr(hearts, 'ALONE', 2)
    with Heart(0, 1, 0.5) as heart:
        counts = []
        with heart.during(3, 'report'):
            for _ in range(3):
                counts.append(heart._beats)
                time.sleep(0.7)
            settled = heart._beats
            time.sleep(0.2)
            assert heart._beats == settled
        assert counts[0] < counts[1] < settled
    heart._process.wait(5)


def test_the_last_of_all_to_die_may_be_any(tmp_path):
    ranks = start(tmp_path, '--steps', 1000)
    wait_for(tmp_path, 'step-5')
    for rank in ranks:
        rank.kill()
    _, said = finish(tmp_path, ranks)
    assert len(said.splitlines()) == 1 and 'without a word' in said


def wait_for(folder, name):
    until = time.monotonic() + 30
    while not list(folder.glob(f'meet-*/{name}-*')):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_strangers_do_nothing(tmp_path):
    """Neither while ranks join nor later: the port is closed then."""
    heart = Heart(0, 2, 20)
    where = heart.address['host'], heart.address['port']
    strangers = [socket.create_connection(where, 5) for _ in range(40)]
    for stranger, line in zip(strangers, (
            b'{"token": "\\ud800", "rank": 1}\n', b'[' * 20000, b'\0' * 70000, b'[]\n{}\n')):
        stranger.sendall(line)
    heart.join(heart.address)
    other = Heart(1, 2, 20)
    other.join(heart.address)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where, 5)
    other.done()
    heart.done()
    assert heart._process.wait(5) == 0
    for stranger in strangers:
        stranger.close()


def test_a_watchdog_that_is_hung_up_on_tries_again():
    """A crowd of strangers at the door may push it out."""
    heart = Heart(1, 2, 20)
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        address = {'host': '127.0.0.1', 'port': listener.getsockname()[1], 'token': 't' * 32}
        joining = threading.Thread(target=heart.join, args=(address,))
        joining.start()
        listener.accept()[0].close()
        second = listener.accept()[0]
        assert second.recv(32) == b't' * 32
        second.sendall(b'{"joined": true}\n')
        joining.join(5)
        assert not joining.is_alive()
        heart.done()
        second.settimeout(5)
        while b'"done"' not in second.recv(1 << 16):
            pass
        second.sendall(b'{"bye": true}\n')
        second.close()
    assert heart._process.wait(5) == 0


def test_an_unreachable_hub_is_told():
    heart = Heart(1, 2, 0.5)
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        port = closed.getsockname()[1]
    with pytest.raises(UserError, match=f'rank 1 on .* cannot reach rank 0 at 127.0.0.1:{port}'):
        heart.join({'host': '127.0.0.1', 'port': port, 'token': ''})
    heart.done()


def test_a_signal_to_the_whole_job_does_not_end_a_watchdog_that_starts():
    with Heart(0, 1, 20) as heart:
        heart._process.terminate()
        heart.join(heart.address)
        assert heart._process.poll() is None
    assert heart._process.wait(5) == 0


def test_a_beat_is_cheap():
    with Heart(0, 1, 20) as heart:
        heart.join(heart.address)
        begun = time.perf_counter()
        for step in range(1000):
            heart.beat(step, 'compute')
        assert (time.perf_counter() - begun) / 1000 < 1e-3  # 2e-5 on an idle machine
    heart._process.wait(5)


def test_a_stopped_watchdog_is_woken_by_the_last_word():
    """It would stay on its host for ever, and the remote shell with it."""
    with Heart(0, 1, 20) as heart:
        heart.join(heart.address)
        heart._process.send_signal(signal.SIGSTOP)
        while state(heart._process.pid) != 'T':
            time.sleep(0.01)
    assert heart._process.wait(5) == 0


def test_a_burst_of_beats_does_not_silence_a_rank(capfd):
    """More than the socket holds, at once: the rest is dropped, what follows is heard, and the rank
    lives on."""
    with Heart(0, 2, 1) as heart:
        heart._process.send_signal(signal.SIGSTOP)
        for step in range(20000):
            heart.beat(step, 'compute')
        assert len(heart._line.backlog) >= hearts.BACKLOG
        heart._process.send_signal(signal.SIGCONT)
        until = time.monotonic() + 5
        while heart._line.backlog and time.monotonic() < until:
            time.sleep(0.02)
        assert not heart._line.backlog
    heart._process.wait(5)
    assert capfd.readouterr().err == ''
