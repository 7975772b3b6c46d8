"""benchmarks/compare_zoo.py: once as a process, with tiny networks; then its mistakes."""
import importlib.util
import re
import subprocess
import sys

import compare_zoo
import cv2
import pytest
from bench import ROOT, read_rows

SCRIPT = ROOT / 'benchmarks' / 'compare_zoo.py'


@pytest.fixture
def here(capsys):
    """The script's `main`, without a process: what it prints to standard error, where it ends with
    a mistake."""
    def call(*words):
        with pytest.raises(SystemExit) as ended:
            compare_zoo.main(list(map(str, words)))
        assert ended.value.code == 2
        out, error = capsys.readouterr()
        assert out == '' and 'Traceback' not in error
        return error

    return call


@pytest.mark.skipif(importlib.util.find_spec('gluoncv') is None, reason='it is not installed')
def test_two_tiny_networks(tmp_path):
    words = ['--networks', 'resnet26,mobilenetv2_0.25', '--input-size', 64, '--rounds', 1,
             '--batch-size', 3, '--train-batch-size', 2, '--out', tmp_path / 'out']
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, words)], cwd=tmp_path,
                          capture_output=True, encoding='utf-8', timeout=300)
    assert done.returncode == 0, done.stderr
    rows = {row['network']: row for row in read_rows(tmp_path / 'out' / 'compare_zoo.csv')}
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
        assert row['published_top1'] == ''
    # A MobileNetV2 of a quarter of the width, and the running statistics of its BatchNorms.
    assert (rows['mobilenetv2_0.25']['trained'],
            rows['mobilenetv2_0.25']['parameters']) == ('1516312', '1526760')
    text = (tmp_path / 'out' / 'compare_zoo.md').read_text(encoding='utf-8')
    assert '    python benchmarks/compare_zoo.py --networks resnet26,mobile' in text
    assert all(f'| {name} |' in text for name in rows)
    assert cv2.imread(str(tmp_path / 'out' / 'compare_zoo.png')).std() > 5
    assert re.search(r'resnet26 +64×64 +4,523,288 ', done.stdout) and 'written: ' in done.stdout


def test_help_is_there_without_mxnet():
    code = ('import contextlib, compare_zoo, sys\nwith contextlib.suppress(SystemExit):\n'
            "    compare_zoo.main(['--help'])\nprint('mxnet' in sys.modules)")
    done = subprocess.run([sys.executable, '-c', code], cwd=SCRIPT.parent, capture_output=True,
                          encoding='utf-8', timeout=60)
    assert '--train-batch-size' in done.stdout and done.stdout.endswith('False\n')


@pytest.mark.parametrize('words, sentence', [
    (['--networks', 'resnet51'], "unknown network 'resnet51': choose from a2_resnet152, "),
    (['--input-size', '8'], '--input-size must be 32 or more, not 8'),
    (['--rounds', '0'], '--rounds must be 1 or more, not 0'),
    (['--image', '--video'], '--networks, --image and --video exclude each other')])
def test_a_mistake_is_one_sentence(here, words, sentence):
    error = here(*words)
    assert re.fullmatch(r'error: [^\n]+\n', error) and sentence in error


def test_without_gluoncv_it_says_what_to_install(here, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gluoncv', None)
    error = here('--image')
    assert error.startswith('error: resnet50_v1b comes from GluonCV, which is not installed: pip ')
    assert "-e '.[zoo]'" in error and '(--networks)' in error
