"""Signals in this process; tests/test_scripts_train_imagenet.py sends them to whole runs."""
import os
import signal
from unittest import mock

import pytest
import tiny

from gluon_a2.machine.ranks import PREEMPTED
from gluon_a2.run import checkpoint
from gluon_a2.train.loop import Loop
from gluon_a2.train.saving import Saver
from gluon_a2.train.stopping import StopRequest


@pytest.fixture
def request_():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with StopRequest() as stop:
        yield stop
    assert {number: signal.getsignal(number) for number in before} == before


def test_sigterm_asks_and_ctrl_c_asks_once(request_, capfd):
    assert (request_.requested, request_.interrupted) == (False, False)
    os.kill(os.getpid(), signal.SIGTERM)
    assert (request_.requested, request_.interrupted) == (True, False)
    os.kill(os.getpid(), signal.SIGINT)
    assert request_.interrupted and 'another Ctrl-C ends at once' in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_no_rank_leaves_before_the_checkpoint_is_written():
    done = mock.Mock()
    done.group.first = False
    with pytest.raises(SystemExit) as error:
        Loop._leave(done)
    assert error.value.code == PREEMPTED
    assert done.mock_calls == [mock.call.saver.wait(), mock.call.group.barrier('saved'),
                               mock.call.group.heart.done()]


@pytest.mark.usefixtures('tiny_zoo')
@pytest.mark.parametrize('first', [True, False])
def test_ctrl_c_twice_within_a_step_names_the_last_checkpoint(tmp_path, images, monkeypatch, first):
    step = Loop.train_step

    def interrupt(self, batches, lr):
        if self.at.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batches, lr)

    monkeypatch.setattr(Loop, 'train_step', interrupt)
    if not first:  # what all other ranks say of checkpoints
        monkeypatch.setattr(Saver, 'last_saved', lambda self: '')
    with pytest.raises(KeyboardInterrupt) as error:
        tiny.run(tmp_path / 'run', images)
    last = tmp_path / 'run' / 'checkpoints' / 'step-00000002'
    saved = f'the last good checkpoint is {last}; ' if first else ''
    assert str(error.value) == (f'interrupted at step 2: {saved}`resume` with `save_dir` '
                                f'{tmp_path}/run goes on')
    assert checkpoint.newest(last.parent).path == last
