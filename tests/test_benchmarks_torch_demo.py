"""The demo in PyTorch, an epoch of it."""
import re

import pytest
from loading import load

pytest.importorskip('torch')


def test_an_epoch_learns_and_comes_back_the_same(tmp_path, capsys):
    load('benchmarks/torch_demo.py').main(['--epochs', '1', '--out', str(tmp_path)])
    found = re.search(r'epoch 0: loss ([\d.]+)\n([\d.]+) % top-1 in PyTorch, ([\d.]+) % in MXNet, '
                      'of 359 images', capsys.readouterr().out)
    assert float(found[1]) < 2 and found[2] == found[3]  # it begins at ln 10
    assert (tmp_path / 'a2_resnet26-meta.json').exists()
