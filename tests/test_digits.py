"""From training to attention by the scripts: the embedded digits, learnt in three of seven epochs
(97.5 %), scored again from the files, one named."""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def call(script, *words):
    done = subprocess.run([sys.executable, f'scripts/{script}.py', *map(str, words)], cwd=str(ROOT),
                          capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_digits(tmp_path):
    call('train_imagenet', '--num-epochs', 3, '--save-dir', tmp_path / 'run')
    last = json.loads((tmp_path / 'run' / 'log.jsonl').read_text().splitlines()[-1])
    assert last['val_images'] == 359 and last['val_top1'] >= 0.93
    assert (tmp_path / 'run' / 'curve.png').stat().st_size > 10000
    prefix = tmp_path / 'run' / 'export' / 'a2_resnet26'
    assert call('score', prefix).startswith(f'{100 * last["val_top1"]:.2f} % top-1')
    assert call('predict', '--model', prefix,
                'docs/digit.png').splitlines()[2].startswith('docs/digit.png  '
                                                             '2 ')
    call('visualize_attention', 'docs/digit.png', '--model', prefix, '--at', '22,30', '--out',
         tmp_path / 'attention')
    assert {path.name for path in (tmp_path / 'attention').iterdir()} == {'sheet.png', 'page.html'}
