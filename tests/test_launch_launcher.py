"""The launcher: exit codes, restarts, signals, hosts; and that Horovod finds what it needs."""
import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from test_launch_options import flags
from test_launch_watchdog import TOY, assert_all_gone, of_job, wait_for

from gluon_a2.errors import UserError
from gluon_a2.launch import launcher, process, start
from gluon_a2.machine import network

ROOT = TOY.parents[1]


def environment(folder):
    clean = {
        name: value for name, value in os.environ.items()
        if not name.startswith(('HOROVOD_', 'GLUON_A2_'))}
    return dict(clean, TOY_JOB=str(folder))


def popen(folder, *given, script=TOY):
    return subprocess.Popen(
        [sys.executable, str(script), '--save-dir',
         str(folder), *map(str, given)], cwd=ROOT, env=environment(folder), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, encoding='utf-8', start_new_session=True)


def run(folder, *given, script=TOY):
    """(exit code, what it said), once nothing of the job is left."""
    with popen(folder, *given, script=script) as process:
        said = process.communicate(timeout=90)[0]
    assert_all_gone(folder)
    return process.returncode, said


def starts(folder):
    return [json.loads(line) for line in (folder / 'starts').read_text().splitlines()]


def test_the_command_of_a_rank(tmp_path):
    rest = ['--epochs', '3', '--lr=-1', '-j', '2', '--rec-train', 'a b', '--seed', '-5']
    job = launcher.Job(flags('-np', 4), 's.py', rest, tmp_path, overwrite=True)
    first = [sys.executable, 's.py', *rest, '--overwrite', '--save-dir', str(tmp_path)]
    assert job.command() == job.command(again=True) == first
    (tmp_path / 'run.json').write_text('{"launch": "another"}')
    assert job.command(again=True) == first
    (tmp_path / 'run.json').write_text(json.dumps({'launch': job.id}))
    assert job.command(again=True) == [sys.executable, 's.py', *rest, '--resume', '--save-dir',
                                       str(tmp_path)]
    assert job.command() == first
    assert '--resume' in launcher.Job(flags(), 's.py', rest, tmp_path, resume=True).command()


@pytest.mark.parametrize('given, expected', [
    ((), '300'), (('--env', 'HOROVOD_GLOO_TIMEOUT_SECONDS=20'), '20')])
def test_env_may_set_how_long_horovod_waits(tmp_path, monkeypatch, given, expected):
    pytest.importorskip('horovod.runner')
    monkeypatch.delenv('HOROVOD_GLOO_TIMEOUT_SECONDS', raising=False)
    job = launcher.Job(flags('-np', 2, *given), 's.py', [], tmp_path)
    with contextlib.ExitStack() as stack:
        found = [variables['HOROVOD_GLOO_TIMEOUT_SECONDS']
                 for _, _, variables, *_ in launcher._starts(job, ['x'], stack)]
    assert found == [expected] * 2


# ---- one rank: no Horovod is needed

@pytest.mark.parametrize('code', [0, 2, 75, 1])
def test_exit_codes(tmp_path, code):
    """Only a fault is followed by a restart."""
    got, said = run(tmp_path, '--max-restarts', 1, '--no-heart', '--fault', code, '--until', 9)
    assert got == code
    assert len(starts(tmp_path)) == (2 if code == 1 else 1)
    assert said == ('' if code != 1 else 'rank 0 ended with exit code 1\nrestart 1 of 1: from the '
                                         'beginning\nrank 0 ended with exit code 1\n')


@pytest.mark.parametrize('foreign, saved', [(False, True), (False, False), (True, True)])
def test_a_restart_resumes_what_this_launch_began(tmp_path, foreign, saved):
    if saved:
        (tmp_path / 'checkpoints' / 'step-00000001').mkdir(parents=True)
    code, said = run(tmp_path, '--max-restarts', 3, '--fault', 'kill', '--until', 2, '--overwrite',
                     *['--foreign'] * foreign)
    assert code == 0
    how = 'going on from the last checkpoint' if saved and not foreign else 'from the beginning'
    assert f'rank 0 was killed by SIGKILL\nrestart 1 of 3: {how}\n' in said
    assert f'restart 2 of 3: {how}\n' in said
    modes = [[flag for flag in start['argv'] if flag in ('--resume', '--overwrite')]
             for start in starts(tmp_path)]
    assert modes == [['--overwrite']] + [['--overwrite' if foreign else '--resume']] * 2
    assert all(start['argv'][-2:] == ['--save-dir', str(tmp_path)] for start in starts(tmp_path))
    assert not (tmp_path / 'fault.json').exists()


# ---- several

@pytest.fixture
def horovod():
    return pytest.importorskip('horovod')


def test_a_frozen_rank_is_replaced(tmp_path, horovod):
    (tmp_path / 'checkpoints' / 'step-00000001').mkdir(parents=True)
    code, said = run(tmp_path, '-np', 2, '--max-restarts', 1, '--fault', 'stop', '--at-rank', 1)
    assert code == 0, said
    assert 'rank 1 on' in said and 'is frozen' in said
    assert ('rank 1 was killed by SIGKILL\nrestart 1 of 1: going on from the last '
            'checkpoint\n') in said


@pytest.mark.parametrize('fault, expected', [('mistake', 2), ('raise', 1), ('exit', 1)])
def test_exit_codes_of_several(tmp_path, horovod, fault, expected):
    code, said = run(tmp_path, '-np', 2, '--fault', fault, '--at-rank', 1)
    assert code == expected, said


def test_the_last_lines_of_a_rank_that_is_not_shown(tmp_path, horovod):
    code, said = run(tmp_path, '-np', 2, '--fault', 'raise', '--at-rank', 1, '--ranks-filter', 0)
    assert code == 1 and '[1 ' not in said
    assert re.search(r'the last lines of rank 1:\n( .*\n)+ +ValueError: the dog ate it\n', said)


@pytest.mark.parametrize('whom', ['launcher', 'group', 'all'])
def test_a_request_to_stop(tmp_path, horovod, whom):
    """SIGTERM: the ranks agree on it, save, and end with 75; that is no fault. `timeout` signals
    its child and then the child's group, and a scheduler signals every process of the job."""
    with popen(tmp_path, '-np', 2, '--steps', 1000, '--max-restarts', 2) as process:
        wait_for(tmp_path, 'step-2')
        process.terminate()
        if whom == 'group':
            time.sleep(0.1)
            os.killpg(process.pid, signal.SIGTERM)
        for pid in of_job(tmp_path) if whom == 'all' else ():
            os.kill(pid, signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert_all_gone(tmp_path)
    assert (process.returncode, said) == (75, '')
    assert len(starts(tmp_path)) == 2


def test_a_request_to_stop_reaches_ranks_elsewhere(tmp_path, horovod):
    """Through remote shells that end at a signal, as ssh does."""
    shell = shell_of(
        tmp_path, '#!/bin/sh\ntrap "exit 255" TERM\nexec 3<&0\nsh -c "$2" <&3 &\nwait $!\n')
    with popen_remote(tmp_path, shell, '--steps', 1000, hosts='other:2') as process:
        wait_for(tmp_path, 'step-2')
        process.terminate()
        said = process.communicate(timeout=60)[0]
    assert_all_gone(tmp_path)
    assert (process.returncode, said) == (75, '')


@pytest.mark.parametrize('number, code, said', [
    (signal.SIGINT, 130, 'interrupted: saving at the next step; another Ctrl-C ends at once\n'
                         'interrupted: --resume with --save-dir {} goes on\n'),
    (signal.SIGTERM, 143, '')])
def test_a_second_signal_ends_at_once(tmp_path, horovod, number, code, said):
    with popen(tmp_path, '-np', 2, '--fault', 'hang', '--timeout', 20) as process:
        wait_for(tmp_path, 'step-3')
        for _ in range(2):
            process.send_signal(number)
            time.sleep(launcher.TOGETHER + 0.1)
        heard = process.communicate(timeout=10)[0]
    assert_all_gone(tmp_path)
    assert (process.returncode, heard) == (code, said.format(tmp_path))


@pytest.mark.parametrize('ranks', [1, 2])
def test_a_launcher_that_is_killed_leaves_nothing(tmp_path, ranks):
    if ranks > 1:
        pytest.importorskip('horovod')
    with popen(tmp_path, '-np', ranks, '--max-restarts', 1, '--steps', 1000) as process:
        wait_for(tmp_path, 'step-2')
        assert len(of_job(tmp_path)) == 1 + 2 * ranks
        process.kill()
        said = process.communicate(timeout=30)[0]
    assert_all_gone(tmp_path)
    assert 'the launcher is gone' in said and 'crashed' not in said


def test_the_watchdog_sees_that_the_launcher_is_gone(tmp_path):
    """Where the kernel does not kill the ranks, as on other machines: a shell that ends stands for
    the launcher."""
    command = (f'{shlex.quote(sys.executable)} {TOY} --save-dir {tmp_path} --steps 1000 '
               f'>{tmp_path}/said 2>&1 & until ls {tmp_path}/meet-*/step-2-0; do sleep 0.1; done')
    subprocess.run(['sh', '-c', command], env=dict(environment(tmp_path), GLUON_A2_LAUNCH='x'),
                   check=True, timeout=30, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert_all_gone(tmp_path)
    assert 'the launcher is gone' in (tmp_path / 'said').read_text()


def test_ranks_on_another_host(tmp_path, horovod):
    code, said = run(tmp_path, '-np', 3, '-H', 'localhost:2,otherhost:1', '--remote-shell', 'env '
                     'STUB={host} '
                     'sh -c')
    assert (code, said) == (0, '')
    assert {start['rank']: start['hostname']
            for start in starts(tmp_path)} == {0: None, 1: None, 2: 'otherhost'}


# as ssh: what it runs is in another session, and outlives it
APART = '#!/bin/sh\nexec 3<&0\nsetsid sh -c "$2" <&3 2>"$0.err" &\nwait\n'


@pytest.mark.parametrize('remote', [False, True])
def test_a_rank_that_is_stopped_after_its_last_word(tmp_path, horovod, remote):
    """No watchdog watches it any more."""
    given = ['--fault', 'linger', '--at-rank', 1]
    with popen_remote(tmp_path, shell_of(tmp_path, APART), *given) if remote else popen(
            tmp_path, '-np', 2, *given) as job:
        said = job.communicate(timeout=60)[0]
    assert_all_gone(tmp_path)
    what, why = ('the remote shell of rank 1 on other', '') if remote else (
        'rank 1', ', for it was stopped')
    assert (job.returncode, said) == (
        1, f'{what} has not ended{why}, and was killed by the launcher\n')


@pytest.mark.parametrize('ranks', [1, 2])
def test_ranks_that_are_all_stopped_after_their_last_word(tmp_path, ranks):
    """None ends before them, so the launcher sees their watchdogs leave."""
    if ranks > 1:
        pytest.importorskip('horovod')
    code, said = run(tmp_path, '-np', ranks, '--max-restarts', 1, '--fault', 'linger', '--at-rank',
                     -1)
    assert (code, said) == (0, 'rank 0 has not ended, for it was stopped, and was killed by the '
                               'launcher\nrestart 1 of 1: from the beginning\n')


@pytest.mark.parametrize('at_rank', [0, 1])
def test_a_watchdog_that_is_stopped_ends_with_its_rank(tmp_path, horovod, at_rank):
    """Its rank dies before it finds that out."""
    code, said = run(tmp_path, '-np', 2, '--fault', 'overlooked death', '--at-rank', at_rank)
    assert code == 1 and f'rank {at_rank} was killed by SIGKILL' in said


def test_a_hub_that_is_stopped_when_its_rank_is_done_ends_with_the_job(tmp_path, horovod):
    with popen(tmp_path, '-np', 2, '--fault', 'leave', '--at-rank', 0, '--steps', 200) as job:
        wait_for(tmp_path, 'agreed-199')
        rank, = (one['pid'] for one in starts(tmp_path) if one['rank'] == 0)
        until = time.monotonic() + 30
        while rank in of_job(tmp_path) and time.monotonic() < until:
            time.sleep(0.01)
        hub, = (pid for pid in of_job(tmp_path) if b'of-rank-0' in Path(
            f'/proc/{pid}/cmdline').read_bytes())
        os.kill(hub, signal.SIGSTOP)
        job.communicate(timeout=60)
    assert_all_gone(tmp_path)
    assert job.returncode == 1


def test_ranks_may_take_long_to_end(tmp_path):
    """As libraries do on a busy machine. The job has come to its end, and is no fault."""
    assert run(tmp_path, '--max-restarts', 1, '--fault', 'slow end') == (0, '')


def test_a_request_to_stop_before_the_ranks_are_ready(tmp_path, horovod):
    with popen(tmp_path, '-np', 2, '--fault', 'absent', '--max-restarts', 2) as process:
        wait_for(tmp_path, 'ready')
        process.terminate()
        said = process.communicate(timeout=60)[0]
    assert_all_gone(tmp_path)
    assert (process.returncode, said) == (
        143, 'asked to stop, and ended before all ranks had saved\n')


def shell_of(folder, content):
    shell = folder / 'shell'
    shell.write_text(content)
    shell.chmod(0o755)
    return f'{shell} {{host}}'


def popen_remote(folder, shell, *given, hosts='localhost:1,other:1'):
    return popen(folder, '-np', 2, '-H', hosts, '--remote-shell', shell, *given)


@pytest.mark.parametrize('shell, code, how', [
    ('echo Permission denied; exit 255', 1, 'ended with exit code 255 before it started: see above '
                                            'what its remote shell says'),
    ('exit 2', 2, 'ended with exit code 2 before it started: see above what its remote shell says'),
    ('sleep 60', 1, 'has not started within 5 s (--start-timeout): the remote shell hangs, or the '
                    'host does not answer')])
def test_what_never_started_is_not_started_again(tmp_path, horovod, shell, code, how):
    """A login that is refused, a host without the checkout, and a login that hangs."""
    shell = f'sh -c "{shell}" {{host}}'
    with popen_remote(tmp_path, shell, '--max-restarts', 3, '--start-timeout', 5,
                      hosts='other:1,localhost:1') as job:
        said = job.communicate(timeout=60)[0]
    assert_all_gone(tmp_path)
    assert job.returncode == code and f'rank 0 on other {how}\n' in said
    assert 'restart' not in said


def test_who_has_killed_a_rank_is_said():
    killed, left = (process.Rank(number, ['sleep', '60'], {'PATH': os.environ['PATH']})
                    for number in (0, 1))
    os.kill(killed.pid, signal.SIGKILL)
    while killed.poll() is None:
        time.sleep(0.01)
    for rank in (killed, left):
        rank.kill()
    assert killed.ending() == 'rank 0 was killed by SIGKILL'
    assert left.ending() == 'rank 1 has not ended, and was killed by the launcher'


def test_a_rank_whose_start_fails_is_no_orphan(tmp_path, horovod):
    """It waits for rank 0, as inside Horovod, in a session that no kill of the launcher's
    reaches. What it says goes to a launcher that is gone."""
    with popen_remote(tmp_path, shell_of(tmp_path, APART), '--fault', 'absent') as job:
        wait_for(tmp_path, 'ready')
        job.kill()
    assert_all_gone(tmp_path)
    said = (tmp_path / 'shell.err').read_text()
    assert 'rank 1 on' in said and 'was ended at its start: the launcher is gone' in said


def test_a_remote_shell_that_passes_no_input_is_named(tmp_path, horovod):
    with popen_remote(tmp_path, shell_of(tmp_path, '#!/bin/sh\nexec sh -c "$2" </dev/null\n')
                      ) as job:
        said = job.communicate(timeout=60)[0]
    assert_all_gone(tmp_path)
    assert job.returncode == 2
    assert re.search(r'\[1 other\] error: rank 1 on .* did not get the secret of its job: '
                     '--remote-shell must pass its standard input on', said), said


def test_a_rank_that_waits_too_long_for_the_others(tmp_path, horovod):
    with popen(tmp_path, '-np', 2, '--fault', 'absent', '--start-timeout', 2) as job:
        said = job.communicate(timeout=60)[0]
    assert_all_gone(tmp_path)
    assert job.returncode == 1
    assert 'was ended at its start: it has not met the others within 2 s: one of them did' in said


def test_the_pause_between_restarts_grows(tmp_path, monkeypatch):
    pauses, codes = [], iter([1, 1, 1, 1, 1, 0])
    (tmp_path / 'checkpoints').mkdir()

    def attempt(*_):
        if len(pauses) == 3:
            (tmp_path / 'checkpoints' / 'step-00000007').mkdir()
        return next(codes)
    monkeypatch.setattr(launcher, '_attempt', attempt)
    monkeypatch.setattr(launcher, '_interrupted', lambda pause, _: pauses.append(pause))
    assert launcher.launch(flags('--max-restarts', 9), 's', [], tmp_path) == 0
    assert pauses == [0, 1, 2, 0, 1]


def test_a_pause_ends_at_a_signal(capfd):
    begun = time.monotonic()
    assert launcher._interrupted(30, [(signal.SIGTERM, begun)])
    assert not launcher._interrupted(0, [])
    assert time.monotonic() - begun < 5
    assert capfd.readouterr().err == 'the next restart is in 30 s\n'


def test_a_launcher_out_of_reach_is_named(monkeypatch):
    monkeypatch.setattr(start, 'REACH', 0)
    for name, value in ((start.LIMIT, '60'), ('GLUON_A2_LAUNCH', 'x'), ('HOROVOD_RANK', '1'),
                        (network.RENDEZVOUS, '127.0.0.1'), ('HOROVOD_GLOO_RENDEZVOUS_PORT', '9')):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(start, '_shown', threading.Event())
    monkeypatch.setattr(sys, 'stdin', io.StringIO('secret\n'))
    with pytest.raises(UserError, match='rank 1 on .* cannot reach the launcher at 127.0.0.1:9 '):
        start.show()
    start.watched()


@pytest.mark.parametrize('given, reason', [
    (['-np', 2, '--remote-shell', 'no-such-shell {host}', '-H', 'other:2'], 'no-such-shell cannot '
                                                                            'be started'),
    (['-np', 2, '--network-interface', 'no0', '-H', 'other:2'], '--network-interface no0 has no '
                                                                'address here')])
def test_mistakes_end_in_a_sentence(tmp_path, horovod, given, reason):
    code, said = run(tmp_path, *given)
    assert code == 2 and said.startswith('error: ' + reason) and len(said.splitlines()) == 1


ALLREDUCE = '''
    import os, sys
    sys.path.insert(0, {root!r})
    from gluon_a2.machine.ranks import launch_id
    if not launch_id():
        from argparse import ArgumentParser
        from gluon_a2.flags import add_flags, from_args
        from gluon_a2.launch.launcher import launch
        from gluon_a2.launch.options import Processes
        parser = ArgumentParser()
        add_flags(parser, Processes)
        given = from_args(Processes, parser.parse_known_args()[0])
        sys.exit(launch(given, sys.argv[0], [], {folder!r}))
    from gluon_a2.backend import mx
    import horovod.mxnet as hvd
    from gluon_a2.launch import start
    start.show()
    hvd.init()
    start.met()
    array = mx.nd.array([1, 10 ** hvd.rank()])
    total = hvd.allreduce(array, average=False, name='x').asnumpy().tolist()
    with open(os.path.join({folder!r}, 'of-%d' % hvd.rank()), 'w') as file:
        file.write(str((hvd.size(), hvd.local_rank(), hvd.local_size(), total)))
'''


STUB = ['-H', 'localhost:1,other:1', '--remote-shell', 'env X={host} sh -c']


@pytest.mark.parametrize('where, locally', [
    ([], 2), (STUB, 1), ([*STUB, '--network-interface', 'lo'], 1)])
def test_horovod_meets(tmp_path, horovod, where, locally):
    script = tmp_path / 'allreduce.py'
    script.write_text(textwrap.dedent(ALLREDUCE.format(root=str(ROOT), folder=str(tmp_path))))
    code, said = run(tmp_path, '-np', 2, *where, script=script)
    assert code == 0, said
    for rank in range(2):
        assert (tmp_path / f'of-{rank}').read_text() == str((2, rank % locally, locally, [
            2.0, 11.0]))
