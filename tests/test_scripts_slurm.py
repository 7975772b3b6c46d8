"""The Slurm script with stand-ins for srun and scontrol: ranks on two "nodes" stop on request and
are queued again."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gluon_a2.run import checkpoint

ROOT = Path(__file__).resolve().parents[1]
STUBS = {  # the batch script runs on the first node
    'srun': '#!/bin/sh\necho "$@" >> "$CALLS"\nfor last; do :; done\nexec sh -c "$last"\n',
    'scontrol': '#!/bin/sh\necho "scontrol $@" >> "$CALLS"\n'
                'case $2 in hostnames) hostname; echo node2 ;; '
                'job) echo "JobId=7 JobState=${STATE:-RUNNING} Reason=None" ;; esac\n'}
FLAGS = [
    '--recipe', 'digits', '--num-gpus', '0', '--input-size', '16', '--batch-size', '5',
    '--num-epochs', '2', '--log-interval', '1', '--save-steps', '1', '-j', '0'
]

pytest.importorskip('horovod', reason='Horovod is not installed: make horovod')


def start(tmp_path, images, *flags, **variables):
    for name, text in STUBS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'CALLS': str(tmp_path / 'calls'),
        'SLURM_JOB_NODELIST': 'node[1-2]', 'SLURM_JOB_NUM_NODES': '2', 'SLURM_GPUS_ON_NODE': '1',
        'SLURM_JOB_ID': '7', 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', **variables
    }
    command = [
        'bash', 'scripts/train_imagenet.slurm',
        str(images),
        str(tmp_path / 'run'), *FLAGS, *flags
    ]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def test_a_job_runs_on_its_nodes_is_stopped_and_goes_on(tmp_path, images):
    job = start(tmp_path, images, '--num-epochs', '500')
    while not (tmp_path / 'run' / 'log.jsonl').exists() and job.poll() is None:
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    told = job.communicate(timeout=120)[0]
    assert job.returncode == 75, told
    calls = (tmp_path / 'calls').read_text().splitlines()
    assert calls[0] == 'scontrol show hostnames node[1-2]' and calls[-1] == 'scontrol requeue 7'
    assert len(calls) == 4 and calls[1].startswith('--overlap --nodes=1 --ntasks=1 '
                                                   '--nodelist=node2 --gpus-per-node=1 ')
    stopped = checkpoint.newest(tmp_path / 'run' / 'checkpoints').state
    assert stopped['ranks'] == 2 and stopped['at']['step'] > 0
    made = json.loads((tmp_path / 'run' / 'run.json').read_text())  # to end soon
    epochs = stopped['at']['epoch'] + 1
    (tmp_path / 'run' / 'run.json').write_text(
        json.dumps({**made, 'recipe': {**made['recipe'], 'num_epochs': epochs}}))
    job = start(tmp_path, images, '--num-epochs', str(epochs))
    told = job.communicate(timeout=120)[0]
    assert job.returncode == 0, told
    assert f'resumed from {tmp_path / "run"}' in told
    assert checkpoint.newest(tmp_path / 'run' / 'checkpoints').state['at']['epoch'] == epochs


def test_another_script(tmp_path):
    told = start(tmp_path, 'videos', PYTHON='echo', SCRIPT='train_video').communicate()[0]
    assert told.startswith('scripts/train_video.py --data-dir videos --save-dir ')


@pytest.mark.parametrize('state, last', [('RUNNING', 'requeue 7'), ('COMPLETING', 'show job -o 7')])
def test_a_signal_before_training_has_begun_queues_the_job_again(tmp_path, state, last):
    """But not a job that scancel has cancelled, which is completing."""
    (tmp_path / 'python').write_text('#!/bin/sh\nexit 143\n')
    (tmp_path / 'python').chmod(0o755)
    job = start(tmp_path, 'images', PYTHON=str(tmp_path / 'python'), STATE=state)
    job.communicate(timeout=60)
    assert job.returncode == 143
    assert (tmp_path / 'calls').read_text().endswith(f'scontrol {last}\n')


def test_what_it_needs_is_said(tmp_path):
    done = subprocess.run(['bash', 'scripts/train_imagenet.slurm', 'data'], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith('error: sbatch '
                                                           'scripts/train_imagenet.slurm DATA_DIR '
                                                           'RUN')
