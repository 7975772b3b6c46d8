"""score.py, export.py and predict.py as processes, on one small run."""
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny

SCRIPTS = Path(__file__).resolve().parents[1] / 'scripts'


@pytest.fixture(scope='module')
def trained(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp('runs') / 'run'
    tiny.run(folder, images)
    return folder


def call(script, *words, code=0):
    done = subprocess.run([sys.executable, str(SCRIPTS / script), *map(str, words)], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == code, done.stderr
    assert 'Traceback' not in done.stderr
    return done.stdout, done.stderr


def logged(folder):
    return json.loads((folder / 'log.jsonl').read_text().splitlines()[-1])


@pytest.mark.parametrize('source', ['export/a2_resnet26', 'export/a2_resnet26-symbol.json', '.'])
def test_score_repeats_the_validation_of_the_run(trained, images, source):
    out, _ = call('score.py', trained / source, '--data-dir', images)
    last = logged(trained)
    assert out == (f'{100 * last["val_top1"]:.2f} % top-1, {100 * last["val_top5"]:.2f} % top-5 on 13 images, '
                   '16×16\n')


def test_score_larger_with_mean_max_and_on_the_training_half(trained, images):
    out, _ = call('score.py', trained, '--checkpoint', 'best', '--data-dir', images, '--split', 'train', '--size', '48',
                  '--crop-ratio', '1', '--mean-max', '-j', '0', '--batch-size', '9')
    assert re.fullmatch(r'[\d.]+ % top-1, [\d.]+ % top-5 on 40 images, 48×48, mean-max pooling\n', out)


def test_export_then_predict_from_the_files_alone(trained, images, tmp_path):
    from gluon_a2 import data
    out, _ = call('export.py', trained, '--out', tmp_path / 'deep' / 'net')
    assert 'net-symbol.json' in out and 'a2_resnet26 after step 6' in out
    for name in ('symbol.json', '0000.params'):
        assert (tmp_path / 'deep' / f'net-{name}').read_bytes() == (
            trained / 'export' / f'a2_resnet26-{name}').read_bytes()
    source = data.open_source(images, 'val')
    (tmp_path / 'digit.jpg').write_bytes(source.read(0))
    out, _ = call('predict.py', '--model', tmp_path / 'deep' / 'net', tmp_path / 'digit.jpg', '--top', '3')
    assert re.fullmatch(re.escape(str(tmp_path / 'digit.jpg')) + r': (\d [\d.]+ %(, )?){3}\n', out)


def test_predict_names_the_unreadable_and_goes_on(trained, tmp_path):
    (tmp_path / 'page.jpg').write_text('<html></html>')
    cv2.imwrite(str(tmp_path / 'grey.png'), np.full((20, 30), 99, np.uint8))
    out, err = call('predict.py', '--model', trained / 'export' / 'a2_resnet26', tmp_path / 'page.jpg',
                    tmp_path / 'none.jpg', tmp_path / 'grey.png', code=1)
    assert out.startswith(str(tmp_path / 'grey.png')) and out.count('\n') == 1
    assert 'page.jpg is not an image that can be decoded' in err and 'none.jpg cannot be read' in err


@pytest.mark.parametrize('script, words', [
    ('score.py', ['{}', '--data-dir', '{images}']), ('predict.py', ['--model', '{}', 'x.jpg'])])
def test_damaged_files_are_refused(trained, images, tmp_path, script, words):
    shutil.copytree(trained / 'export', tmp_path / 'export')
    params = tmp_path / 'export' / 'a2_resnet26-0000.params'
    params.write_bytes(params.read_bytes()[:-4] + b'evil')
    _, err = call(script, *[word.format(tmp_path / 'export' / 'a2_resnet26', images=images) for word in words], code=2)
    assert err.strip().splitlines()[-1] == (
        f'error: {params} is damaged: its SHA-256 differs from the one its metadata records; copy or export it again')


def test_mistakes_are_one_sentence(trained, images, tmp_path):
    for script, words, sentence in (
            ('score.py', [trained], f'--data-dir is missing: the network was trained on {images}'),
            ('score.py', [tmp_path], 'holds no valid checkpoint'),
            ('score.py', [trained / 'export'], 'is a folder of exported files: name one of them, such as'),
            ('score.py', [trained / 'export' / 'a2_resnet26', '--checkpoint', 'best'], '--checkpoint best needs the'),
            ('score.py', [trained, '--data-dir', images, '--crop-ratio', '0'], 'must be above 0'),
            ('score.py', [trained, '--data-dir', images, '--batch-size', '0'], '--batch-size must be 1 or more'),
            ('score.py', [tmp_path / 'none'], 'none-meta.json does not exist'),
            ('score.py', [trained, '--data-dir', tmp_path], 'no val data in'),
            ('score.py', [trained, '--data-dir', images, '--size', '9'], 'cannot take images of 9'),
            ('score.py', [trained, '--checkpoint', 'worst', '--data-dir', images], 'worst is not a whole checkpoint'),
            ('export.py', [tmp_path / 'none'], 'none'),
            ('predict.py', ['--model', tmp_path / 'none', 'x.jpg'], 'none-meta.json does not exist')):
        _, err = call(script, *words, code=2)
        errors = [line for line in err.splitlines() if line.startswith('error: ')]
        assert len(errors) == 1 and sentence in errors[0], (script, words, err)


def test_a_checkpoint_of_another_network_is_refused(trained, tmp_path):
    from gluon_a2.train import checkpoint
    found = checkpoint.find(trained / 'checkpoints', 'last')
    state = {**found.state, 'recipe': {**found.state['recipe'], 'model': 'nl_resnet26'}}
    checkpoint.save(tmp_path / 'checkpoints', 1, found.tensors, state)
    _, err = call('score.py', tmp_path, code=2)
    assert 'holds weights of another network: it lacks conv3_unit1_nl_' in err
