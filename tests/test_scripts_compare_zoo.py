"""scripts/compare_zoo.py: once as a process, with tiny networks and made-up weights; then its
mistakes."""
import csv
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from loading import load

from gluon_a2 import data

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'scripts' / 'compare_zoo.py'


@pytest.fixture
def here(capsys):
    """The script's `main`, without a process: what it prints to standard error, where it ends with
    a mistake."""
    script = load('scripts/compare_zoo.py')

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            script.main(list(map(str, words)))
        assert ended.value.code == 2
        out, error = capsys.readouterr()
        assert out == '' and 'Traceback' not in error
        return error

    return call


def write_weights(folder):
    """Random weights of two tiny networks: [NAME=FILE]."""
    from gluon_a2.backend import mx
    from gluon_a2.compare.networks import choose
    from gluon_a2.compare.worker import build
    from gluon_a2.formats import params
    for network in choose(['resnet26', 'mobilenetv2_0.25'], 64):
        net, path = build(network), folder / f'{network.name}.params'
        net.initialize(mx.init.Xavier())
        values = {
            name: parameter.data().asnumpy()
            for name, parameter in net._collect_params_with_prefix().items()
        }
        path.write_bytes(params.to_bytes(values))
        yield f'{network.name}={path}'


def test_two_tiny_networks_measured_and_scored(tmp_path):
    pytest.importorskip('gluoncv')
    source = data.open_source(data.digits_folder(), 'val')
    with data.RecordWriter(tmp_path / 'val.rec') as writer:
        for i in range(5):
            writer.write(source.read(i), int(source.labels[i]))
    ours, theirs = write_weights(tmp_path)
    words = [
        '--networks', 'resnet26', 'mobilenetv2_0.25', '--input-size', 64, '--rounds', 1,
        '--batch-size', 3, '--train-batch-size', 2, '--out', tmp_path / 'out', '--pretrained',
        '--data-dir', tmp_path, '--params', ours, '--params', theirs, '-j', 0
    ]
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, words)], cwd=tmp_path,
                          capture_output=True, encoding='utf-8', timeout=300)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / 'out' / 'compare_zoo.csv', newline='', encoding='utf-8') as file:
        rows = {row['network']: row for row in csv.DictReader(file)}
    assert list(rows) == ['resnet26', 'mobilenetv2_0.25']
    for row in rows.values():
        for name in ('latency_ms', 'throughput', 'training'):
            low, middle, high = (float(row[name + end]) for end in ('_lowest', '', '_highest'))
            assert 0 < low <= middle <= high
        assert (row['input'], row['batch'], row['train_batch'], row['rounds']) == ('64×64', '3',
                                                                                   '2', '1')
        assert 4 * int(row['parameters']) < int(
            row['file_bytes']) < 4.1 * int(row['parameters']) + 50_000
        assert int(row['file_bytes']) < int(row['peak_inference_bytes']) < int(
            row['peak_training_bytes']) < 1e9
        assert row['published_top1'] == '' and row['scored_images'] == '5'
    # A MobileNetV2 of a quarter of the width, and the running statistics of its BatchNorms.
    assert (rows['mobilenetv2_0.25']['trained'],
            rows['mobilenetv2_0.25']['parameters']) == ('1516312', '1526760')
    text = (tmp_path / 'out' / 'compare_zoo.md').read_text(encoding='utf-8')
    assert '    python scripts/compare_zoo.py --networks resnet26 mobilenetv2_0.25 --input-size 64' in text
    assert all(f'| {name} |' in text for name in rows) and '## Scored here' in text
    assert cv2.imread(str(tmp_path / 'out' / 'compare_zoo.png')).std() > 5
    assert re.search(r'resnet26 +64×64 +4,523,288 ', done.stdout) and 'written: ' in done.stdout


def test_help_is_there_without_mxnet():
    code = f'import runpy, sys; sys.argv = ["x", "--help"]; runpy.run_path({str(SCRIPT)!r}, run_name="__main__")'
    wrapped = f'try:\n    exec({code!r})\nexcept SystemExit:\n    import sys; print("mxnet" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', wrapped], capture_output=True, encoding='utf-8',
                          timeout=60)
    assert '--pretrained' in done.stdout and done.stdout.endswith('False\n')


@pytest.mark.parametrize('words, sentence', [
    (['--networks', 'resnet51'], "unknown network 'resnet51': choose from a2_resnet152, "),
    (['--networks', 'resnet26', '--input-size', '8'], '--input-size must be 32 or more'),
    (['--rounds', '0'], '--rounds must be 1 or more, not 0'),
    (['--params', 'resnet26=x'], 'are for scoring: add --pretrained'),
    (['--pretrained'], '--data-dir is missing'),
    (['--networks', 'resnet26', '--pretrained', '--data-dir', 'x'], '--pretrained found weights of '
                                                                    'no network'),
    (['--networks', 'resnet26', '--pretrained', '--data-dir', 'x', '--params', 'resnet51=x'],
     '--params resnet51=… is not one of the image networks that are compared: resnet26'),
    (['--networks', 'resnet26', '--pretrained', '--data-dir', 'nowhere', '--params', 'resnet26=x'],
     'no val data in nowhere')])
def test_a_mistake_is_one_sentence(here, words, sentence):
    error = here(*words)
    assert re.fullmatch(r'error: [^\n]+\n', error) and sentence in error


def test_files_that_cannot_be_read_are_named(here, tmp_path):
    source = data.open_source(data.digits_folder(), 'val')
    with data.RecordWriter(tmp_path / 'val.rec') as writer:
        writer.write(source.read(0), 0)
    words = ['--networks', 'resnet26', '--pretrained', '--data-dir', tmp_path, '--params']
    assert 'none.params cannot be read: No such file' in here(*words,
                                                              f'resnet26={tmp_path}/none.params')
    (tmp_path / 'net.params').write_bytes(b'<html>404</html>')
    assert 'net.params is not a sound .params file' in here(*words,
                                                            f'resnet26={tmp_path}/net.params')


def test_without_gluoncv_it_says_what_to_install(here, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gluoncv', None)
    assert ("resnet50_v1b comes from GluonCV, which is not installed: pip install -e '.[zoo]' in the "
            'checkout of gluon_a2') in here('--image')


@pytest.mark.parametrize('words, hint', [(['--params', 'x'], "give NETWORK=FILE, not 'x'"),
                                         (['--image', '--video'], 'not allowed with argument')])
def test_flags_are_told_what_they_take(here, words, hint):
    assert hint in here(*words).splitlines()[-1]
