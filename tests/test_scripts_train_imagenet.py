import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

ROOT = Path(__file__).resolve().parents[1]
TRAIN = [sys.executable, str(ROOT / 'scripts' / 'train_imagenet.py')]
# The recipe of tiny.RECIPE, as flags on top of digits.
FLAGS = [
    '--recipe', 'digits', '--input-size', '16', '--batch-size', '7', '--accumulate', '2',
    '--num-epochs', '2', '--dropout', '0.3', '--mixup', '--label-smoothing', '0.1', '--mirror',
    '--hue', '5', '--saturation', '5', '--lightness', '5', '--warmup-epochs', '0.5', '--lr', '0.02',
    '--log-interval', '1', '--save-steps', '1'
]


def start(*flags, **kwargs):
    return subprocess.Popen([*TRAIN, *map(str, flags)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            env={**os.environ, 'OMP_NUM_THREADS': '1'}, **kwargs)


def run(*flags, code=0):
    process = start(*flags)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert 'Traceback' not in err
    return out, err


@pytest.fixture(scope='module')
def uncut(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp('runs') / 'uncut'
    return folder, *run(*FLAGS, '--data-dir', images, '--save-dir', folder)


def test_a_run_leaves_all_its_files(uncut):
    folder, out, _ = uncut
    assert f'network: {folder}/export/a2_resnet26' in out and 'of 13' not in out and 'on 13 held-out images' in out
    names = {path.name for path in folder.iterdir()}
    assert {
        'run.json', 'train.log', 'log.jsonl', 'timing.jsonl', 'curve.png', 'checkpoints', 'export'
    } <= names
    assert any(name.startswith('events') for name in names)
    assert {path.name for path in (folder / 'export').iterdir()} == {
        'a2_resnet26-symbol.json', 'a2_resnet26-0000.params', 'a2_resnet26-meta.json'}


def test_the_lines_users_parse(uncut):
    _, _, err = uncut
    lines = err.splitlines()
    assert '1 CPU threads' in lines[0]
    assert 'batch 7 per device, global batch 14 (1 device × 2 micro-batches); learning rate 0.02' in lines[
        1]
    speed = [
        line for line in lines if re.fullmatch(
            r'Epoch\[\d+\] Batch \[\d+\]\tSpeed: [\d.]+ samples/sec\taccuracy=[\d.]+\tloss=[\d.]+\tlr=[\d.]+',
            line)
    ]
    errors = [line for line in lines if re.fullmatch(
        r'\[Epoch \d+\] validation: err-top1=[\d.]+ err-top5=[\d.]+', line)]
    assert (len(speed), len(errors)) == (6, 2)


def test_no_file_of_a_run_is_a_pickle(uncut):
    for path in uncut[0].rglob('*'):
        if path.is_file():
            assert path.read_bytes()[:2] not in (b'\x80\x02', b'\x80\x03', b'\x80\x04',
                                                 b'\x80\x05'), path


@pytest.mark.parametrize('seed', [1, 2])
def test_killed_at_a_random_moment_and_resumed_it_ends_bit_identical(tmp_path, images, uncut, seed):
    flags = [*FLAGS, '--data-dir', images, '--save-dir', tmp_path / 'run']
    process = start(*flags)
    deadline = time.monotonic() + 120
    while not list((tmp_path / 'run' / 'checkpoints').glob('step-*')) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run(*flags, '--resume')
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut[0])
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (uncut[0] / 'log.jsonl').read_text()
    for name in ('symbol.json', '0000.params'):
        assert (tmp_path / 'run' / 'export' / f'a2_resnet26-{name}').read_bytes() == (
            uncut[0] / 'export' / f'a2_resnet26-{name}').read_bytes()


@pytest.mark.parametrize('flags, sentence', [
    (['--model', 'a2_resnet51'], "unknown model 'a2_resnet51' (did you mean a2_resnet50?): choose "
                                 "one of a2_resnet152"),
    (['--recipe', 'cifar'], "unknown recipe 'cifar': choose one of digits, imagenet_a2_resnet50"),
    (['--lr-mode', 'linear'], "--lr-mode must be one of plateau, step, cosine, poly, not 'linear'"),
    (['--data-dir', 'nowhere'], 'no train data in nowhere'),
    (['--input-size', '8'], 'a2_resnet26 cannot take an input of 8×8: its total stride is 16×16'),
    (['--classes', '5'], 'labels are outside 0…4'),
    (['--num-gpus', '3'], '--num-gpus must be 0 or 1, not 3'),
    (['--resume'], '--resume needs the --save-dir'),
    (['--resume', '--save-dir', 'nothing_here'], 'nothing_here holds no run to resume'),
    (['--save-dir', str(ROOT / 'tests')], 'holds files that are not a run of ours: choose another '
                                          '--save-dir'),
    (['--logging-file', '/dev/full', '--save-dir', 'full'], 'no space left on the disk')])
def test_mistakes_are_one_sentence(tmp_path, flags, sentence):
    done = subprocess.run([*TRAIN, *flags], capture_output=True, text=True, cwd=str(tmp_path),
                          timeout=120)
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and sentence in errors[0]


def test_unknown_flags_and_words_for_numbers_are_argparses_errors(tmp_path):
    for flags, sentence in ((['--batchsize', '3'], 'unrecognized arguments: --batchsize'),
                            (['--lr', 'fast'], "argument --lr: invalid float value: 'fast'")):
        done = subprocess.run([*TRAIN, *flags], capture_output=True, text=True, cwd=str(tmp_path),
                              timeout=60)
        assert done.returncode == 2 and sentence in done.stderr


def test_a_truncated_record_file_is_named(tmp_path, images):
    for name in ('train.idx', 'train.lst', 'val.rec', 'val.idx', 'val.lst'):
        (tmp_path / name).write_bytes((images / name).read_bytes())
    (tmp_path / 'train.rec').write_bytes((images / 'train.rec').read_bytes()[:-500])
    _, err = run(*FLAGS, '--data-dir', tmp_path, '--save-dir', tmp_path / 'run', code=2)
    assert 'train.rec' in err.splitlines()[-1]


def test_class_folders_train_too_and_must_agree(tmp_path):
    from gluon_a2 import data
    source = data.open_source(data.digits_folder(), 'train')
    for split, classes in (('train', 'ab'), ('val', 'ab')):
        for label, name in enumerate(classes):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                (folder / f'{i}.jpg').write_bytes(source.read(3 * label + i))
    flags = [*FLAGS, '--classes', '2', '--num-epochs', '1', '--data-dir', tmp_path]
    run(*flags, '--save-dir', tmp_path / 'run')
    meta = json.loads((tmp_path / 'run' / 'export' / 'a2_resnet26-meta.json').read_text())
    assert meta['classes'] == ['a', 'b']
    (tmp_path / 'val' / 'a').rename(tmp_path / 'val' / 'c')
    _, err = run(*flags, '--save-dir', tmp_path / 'run2', code=2)
    assert "class 0 of the data is 'b', but 'a' to the network" in err
