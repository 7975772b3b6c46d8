"""The demo's last step, on networks with random weights."""
import cv2
import numpy as np
import pytest
import tiny_bundle
from loading import load

from gluon_a2.data import cued_digits
from gluon_a2.deploy import write_bundle
from gluon_a2.run.recipes import RECIPES
from gluon_a2.visualization.maps import BlockAttention

far = load('examples/far.py')


def test_it_scores_both_and_draws_what_one_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('GLUON_A2_CACHE', str(tmp_path))
    monkeypatch.setattr(cued_digits, 'COUNTS', {'train': 18, 'val': 90})
    for name, model, blocks in (('plain', 'resnet26', {}),
                                ('a2', 'a2_resnet26', {'blocks': {'conv2': (2,)}})):
        bundle = tiny_bundle.make(model, RECIPES['far'], '012', **blocks)
        bundle.meta['training']['data'] = 'cued digits, far'
        write_bundle(bundle, tmp_path / name)
    far.main([str(tmp_path / 'plain'), str(tmp_path / 'a2'), '--png', str(tmp_path / 'read.png')])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith('  plain') and lines[2].startswith('  with A²')
    assert lines[3].endswith('33.3 % right, of 90 pictures')
    assert cv2.imread(str(tmp_path / 'read.png')).shape == (640, 830, 3)


@pytest.mark.parametrize('cell', range(4))
def test_the_square_is_found(cell):
    """Descriptor 1 is gathered in the quarter with the fewest coloured pixels, 2 is only strong."""
    picture = np.full((32, 32, 3), 255, np.uint8)
    y, x = 16 * (cell // 2), 16 * (cell % 2)
    picture[y:y + 16, x:x + 16] = 0
    picture[y + 4:y + 10, x + 6:x + 12] = (255, 60, 60)
    b = np.zeros((3, 16, 16), np.float32)
    b[0], b[1, y // 2 + 2, x // 2 + 3], b[2, (y // 2 + 8) % 16, 0] = 1 / 256, 1, 1
    v = np.tile(np.array([0.2, 0.2, 0.6], np.float32), (256, 1))
    block = BlockAttention('conv2_unit2', 'double attention', (1, 16, 16), v, b.reshape(3, -1))
    assert far.reads_the_square(block, picture) == 1
