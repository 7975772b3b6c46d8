import dataclasses
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
import tiny_zoo
from loading import call

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'scripts' / 'train_imagenet.py'
TRAIN, ENVIRON = tiny_zoo.program(SCRIPT)
# The recipe of tiny.RECIPE, as flags on top of digits.
FLAGS = ['--recipe', 'digits', '--model', 'a2_tiny', '--input-size', '16', '--batch-size', '7',
         '--accumulate', '2', '--num-epochs', '2', '--dropout', '0.3', '--mixup',
         '--label-smoothing', '0.1', '--mirror', '--hue', '5', '--saturation', '5', '--lightness',
         '5', '--warmup-epochs', '0.5', '--lr', '0.02', '--log-interval', '1', '--save-steps', '1']


def start(*flags, **kwargs):
    return subprocess.Popen([*TRAIN, *map(str, flags)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            env={**ENVIRON, 'OMP_NUM_THREADS': '1'}, **kwargs)


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
    assert f'network: {folder}/export/a2_tiny' in out
    assert 'of 13' not in out and 'on 13 held-out images' in out
    names = {path.name for path in folder.iterdir()}
    assert {'run.json', 'train.log', 'log.jsonl', 'timing.jsonl', 'checkpoints', 'export'} <= names
    assert any(name.startswith('events') for name in names)
    assert {path.name for path in (folder / 'export').iterdir()} == {
        'a2_tiny-symbol.json', 'a2_tiny-0000.params', 'a2_tiny-meta.json'}


def test_the_lines_users_parse(uncut):
    _, _, err = uncut
    lines = err[err.index('1 CPU threads'):].splitlines()
    assert lines[1] == ('batch 7 per device, global batch 14 (1 device × 2 micro-batches); '
                        'learning rate 0.02 whatever the batch')
    assert lines[2].startswith('40 training and 13 validation images, 3 steps an epoch, at most 6 '
                               'steps (2.0 epochs); run folder ')
    speed = [
        line for line in lines if re.fullmatch(
            r'Epoch\[\d+\] Batch \[\d+\]\tSpeed: [\d.]+ samples/sec\taccuracy=[\d.]+\t'
            r'loss=[\d.]+\tlr=[\d.]+', line)]
    errors = [line for line in lines if re.fullmatch(
        r'\[Epoch \d+\] validation: err-top1=[\d.]+ err-top5=[\d.]+', line)]
    assert (len(speed), len(errors)) == (6, 2)


def test_no_file_of_a_run_is_a_pickle(uncut):
    for path in uncut[0].rglob('*'):
        if path.is_file():
            assert path.read_bytes()[:2] not in (b'\x80\x02', b'\x80\x03', b'\x80\x04',
                                                 b'\x80\x05'), path


def test_killed_at_a_random_moment_and_resumed_it_ends_bit_identical(tmp_path, images, uncut):
    flags = [*FLAGS, '--data-dir', images, '--save-dir', tmp_path / 'run']
    process = start(*flags)
    deadline = time.monotonic() + 120
    while not list((tmp_path / 'run' / 'checkpoints').glob('step-*')) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.1))  # proofs/kills.py does it 200 times
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run(*flags, '--resume')
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut[0])
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (uncut[0] / 'log.jsonl').read_text()
    for name in ('symbol.json', '0000.params'):
        assert (tmp_path / 'run' / 'export' / f'a2_tiny-{name}').read_bytes() == (
            uncut[0] / 'export' / f'a2_tiny-{name}').read_bytes()


@pytest.mark.parametrize('flags, sentence', [
    (['--model', 'a2_resnet51'], "unknown model 'a2_resnet51' (did you mean a2_resnet50?): choose "
                                 "one of a2_resnet152"),
    (['--recipe', 'cifar'], "unknown recipe 'cifar': choose one of digits, far, near, imagenet_a2"),
    (['--lr-mode', 'linear'], "--lr-mode must be one of plateau, step, cosine, poly, not 'linear'"),
    (['--data-dir', 'nowhere'], "no train data in 'nowhere'"),
    (['--input-size', '8'], 'a2_resnet26 cannot take an input of 8×8: its total stride is 16×16'),
    (['--classes', '5'], 'labels are outside 0…4'),
    (['--classes', '100'], 'no data is given, and the embedded digits have 10 classes, not 100: '
                           'give --data-dir, or choose the recipe digits'),
    (['--recipe', 'imagenet_a2_resnet50'], 'the embedded digits have 10 classes, not 1000: give '
                                           '--data-dir'),
    (['--momentum', '2'], '--momentum must be 0 or more and below 1, not 2.0'),
    (['--lr-decay-epoch', '60,40'], '--lr-decay-epoch must rise, not be 60,40'),
    (['--draws', 'mfnet'], "--draws must be one of uniform, dpn, not 'mfnet'"),
    (['--seed', '99999999999999999999'], '--seed must be 0 to 2147483647, not 99999999999999'),
    (['--data-dir', ''], "--data-dir must be text of one letter or more, not ''"),
    (['--save-dir', 'rnus/image/first'], 'there is no folder rnus; make it, or correct the name'),
    (['--batch-size', '100000000'], 'of a micro-batch of 100000000 inputs of 32×32, with their '),
    (['--input-size', '1000000000'], 'an input of 1000000000×1000000000 is more than MXNet can '
                                     'count: lower --input-size'),
    (['--rec-val', 'x'], '--rec-val needs --rec-train: give both, or leave it out'),
    (['--num-gpus', '3'], '--num-gpus must be 0 or 1, not 3'),
    (['--resume'], '--resume needs --save-dir'),
    (['--resume', '--save-dir', 'nothing_here'], 'nothing_here holds no run to resume'),
    (['--save-dir', str(ROOT / 'tests')], 'holds files that are not a run of ours: choose another '
                                          '--save-dir'),
    (['--logging-file', '/dev/full', '--save-dir', 'full'], 'no space left on the disk')])
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    _, err = call(SCRIPT.name, *flags, code=2)
    errors = [line for line in err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and sentence in errors[0]


def test_unknown_flags_and_words_for_numbers_are_argparses_errors(tmp_path):
    for flags, sentence in ((['--batchsize', '3'], 'unrecognized arguments: --batchsize'),
                            (['--lr', 'fast'], "argument --lr: invalid float value: 'fast'"),
                            (['--lr-decay-epoch', '4;6'], 'argument --lr-decay-epoch: must be '
                                                          'numbers separated by commas, not ')):
        done = subprocess.run([sys.executable, str(SCRIPT), *flags], capture_output=True, text=True,
                              cwd=str(tmp_path), timeout=60)
        assert done.returncode == 2 and sentence in done.stderr


def test_the_help_is_under_two_screens_of_whole_words():
    for script in ('train_imagenet.py', 'train_video.py'):
        done = subprocess.run([sys.executable, str(SCRIPT.with_name(script)),
                               '--help'], capture_output=True, text=True, timeout=60,
                              env={**os.environ, 'COLUMNS': '100'})
        lines = done.stdout.splitlines()
        assert done.returncode == 0 and len(lines) <= 100 and max(map(len, lines)) <= 100
        assert not re.search(r'\b(None|STR|INT|FLOAT|True|False)\b', done.stdout)
        titles = {line.split(' (')[0].rstrip(':') for line in lines if re.match(r'\w.*:$', line)}
        assert titles >= {'recipes', 'run', 'data', 'network', 'augmentation', 'optimization',
                          'schedule', 'regularization'}


def wait_for(path, process):
    """Return when `path` exists."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_loses_nothing_and_says_how_to_go_on(tmp_path, images, uncut):
    flags = [*FLAGS, '--data-dir', images, '--save-dir', tmp_path / 'run', '-j', '2']
    process = start(*flags, start_new_session=True)
    wait_for(tmp_path / 'run' / 'log.jsonl', process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to the data workers, too
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, '') and 'Traceback' not in err
    notice, *_, last = [line for line in err.splitlines() if 'nterrupted' in line]
    assert notice == 'interrupted: saving at the next step; another Ctrl-C ends at once'
    step = int(re.fullmatch(rf'interrupted at step (\d+), which is saved: --resume with --save-dir '
                            rf'{tmp_path}/run goes on', last).group(1))
    assert tiny.final_tensors(tmp_path / 'run')[1]['at']['step'] == step > 0
    run(*flags, '--resume')
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut[0])


def test_sigterm_to_the_whole_group_saves_at_the_next_step(tmp_path, images):
    """As `timeout` and schedulers send it."""
    process = start(*FLAGS, '--num-epochs', 500, '--save-steps', 0, '-j', '2', '--data-dir', images,
                    '--save-dir', tmp_path / 'run', start_new_session=True)
    wait_for(tmp_path / 'run' / 'log.jsonl', process)
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (75, '') and 'Traceback' not in err and 'killed' not in err
    step = int(re.search(r'stopped on request at step (\d+), which is saved', err).group(1))
    assert tiny.final_tensors(tmp_path / 'run')[1]['at']['step'] == step > 0


def test_a_truncated_record_file_is_named(tmp_path, images):
    for name in ('train.idx', 'train.lst', 'val.rec', 'val.idx', 'val.lst'):
        (tmp_path / name).write_bytes((images / name).read_bytes())
    (tmp_path / 'train.rec').write_bytes((images / 'train.rec').read_bytes()[:-500])
    _, err = run(*FLAGS, '--data-dir', tmp_path, '--save-dir', tmp_path / 'run', code=2)
    assert 'train.rec' in err.splitlines()[-1]


def test_a_run_starts_again_from_its_record(tmp_path, images, uncut):
    """Bit for bit, and by its folder; flags take the place of what it says."""
    run('--config', uncut[0], '--save-dir', tmp_path / 'again')
    assert tiny.final_tensors(tmp_path / 'again') == tiny.final_tensors(uncut[0])
    made = [json.loads((folder / 'run.json').read_bytes())
            for folder in (uncut[0], tmp_path / 'again')]
    assert made[0]['recipe'] == made[1]['recipe'] and made[0]['options'] == made[1]['options']


def parsed(*words, dims=2):
    from gluon_a2.train.command import parse
    return parse('', list(map(str, words)), dims)


def test_flags_take_the_place_of_what_an_earlier_run_says(tmp_path, images, uncut):
    record = uncut[0] / 'run.json'
    recipe, options, _, words = parsed('--config', record, '--lr', '0.5', '--rec-train', 'a.rec',
                                       '--rec-val', 'b.rec', '--save-dir', 'new')
    assert recipe == dataclasses.replace(tiny.RECIPE, lr=0.5, base_batch=None)
    assert (options.data_dir, options.rec_train, options.save_steps) == (None, 'a.rec', 1)
    assert words == [f'--config={record}', '--lr=0.5', '--rec-train=a.rec', '--rec-val=b.rec']
    assert parsed('--config', record).options.data_dir == str(images)


@pytest.mark.parametrize('content, sentence', [
    (None, 'run.json cannot be read: No such file or directory; give the run.json of an earlier'),
    ('[1', 'run.json is not the run.json of a run'),
    ('{"recipe": {}}', 'run.json is of an older version, and does not say its data'),
    ('{"recipe": {"frames": 8}, "options": {}}', 'run.json is not of a run on images'),
    ('{"recipe": {"colour": 8}, "options": {}}', "the recipe has a field 'colour' that")])
def test_records_that_cannot_start_a_run(tmp_path, content, sentence):
    if content:
        (tmp_path / 'run.json').write_text(content)
    _, err = call('train_imagenet.py', '--config', tmp_path / 'run.json', code=2)
    assert sentence in err and err.count('error: ') == 1
    _, err = call('train_imagenet.py', '--config', 'x', '--recipe', 'digits', code=2)
    assert '--recipe and --config exclude each other' in err


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
    out, err = run(*flags, '--save-dir', tmp_path / 'run')
    meta = json.loads((tmp_path / 'run' / 'export' / 'a2_tiny-meta.json').read_text())
    assert meta['classes'] == ['a', 'b']
    assert re.search(r'err-top1=[\d.]+ err-top5=-$', err, re.MULTILINE)
    assert 'top-5 means nothing with 2 classes' in out
    (tmp_path / 'val' / 'a').rename(tmp_path / 'val' / 'c')
    _, err = run(*flags, '--save-dir', tmp_path / 'run2', code=2)
    assert "1 of the data's are unknown to it, such as 'c'. Those of the network are 'a'," in err
