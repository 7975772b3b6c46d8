"""Many starts of the demo's networks in PyTorch: the settings are the recipe's, and the table that
is kept says what the pages say."""
import csv

import numpy as np
import pytest
from loading import ROOT, load

from gluon_a2.errors import UserError
from gluon_a2.run.recipes import RECIPES

starts = load('benchmarks/demo_starts.py')


def kept():
    with open(ROOT / 'benchmarks' / 'demo_starts.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_its_settings_are_the_recipes():
    recipe, demo = RECIPES['far'], starts.DEMO
    assert demo['steps'] * demo['batch'] == demo['pictures']
    for name, field in (('lr', 'lr'), ('wd', 'wd'), ('momentum', 'momentum'),
                        ('batch', 'batch_size'), ('last_gamma', 'last_gamma'),
                        ('input_size', 'input_size')):
        assert demo[name] == getattr(recipe, field), name
    assert (demo['fall'],) == recipe.lr_decay_step
    assert demo['warmup'] == recipe.warmup_epochs * demo['steps']


def test_the_rate_warms_up_and_falls_once():
    setting = starts.parse(['lr=1', 'warmup=4', 'fall=6'])
    assert [starts.rate(setting, step) for step in range(8)] == pytest.approx(
        [0, 0.25, 0.5, 0.75, 1, 1, 0.1, 0.1])
    setting.update(fall=0, steps=8)
    assert [starts.rate(setting, step) for step in (4, 6)] == pytest.approx([1, 0.5])


def test_a_setting_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="one of model, .*, not 'rate=1'"):
        starts.parse(['rate=1'])


def test_two_starts_are_trained_and_kept(tmp_path):
    pytest.importorskip('torch')
    path = tmp_path / 'starts.csv'
    starts.main(['--starts', '2', '--csv', str(path), 'steps=2', 'pictures=36', 'lr=0.02'])
    with open(path, newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['start'] for row in rows] == ['0', '1'] and rows[0]['lr'] == '0.02'
    assert 0 < float(rows[0]['top1']) < 1 and rows[0]['learned_at'] == '-1'
    assert rows[0].keys() == kept()[0].keys()


def test_branches_start_at_zero_only_where_they_shall():
    torch = pytest.importorskip('torch')
    for zero in (0, 1):
        net = starts.network(starts.parse([f'last_gamma={zero}', 'm=8']))
        weights = [bool(weight.abs().max() > 0) for name, weight in net.named_parameters()
                   if name.endswith('conv3.conv.weight')]
        assert weights == [not zero] * 8
        assert net.conv2_unit2_a2.phi.conv.weight.shape == torch.Size([8, 128, 1, 1])


def test_the_page_has_what_was_kept():
    """The demo's own setting: no start with A² missed, and the plain network is at chance."""
    page = (ROOT / 'docs' / 'attention.md').read_text(encoding='utf-8')
    usual = {name: str(value) for name, value in starts.DEMO.items()}
    for model in ('a2_resnet26', 'resnet26'):
        same = [100 * float(row['top1']) for row in kept()
                if all(row[name] == value for name, value in {**usual, 'model': model}.items()
                       if name != 'pictures')]
        assert len(same) == {'a2_resnet26': 24, 'resnet26': 12}[model]
        assert f'{min(same):.1f} to {max(same):.1f} %' in page
    plain = [100 * float(row['top1']) for row in kept() if row['model'] == 'resnet26'
             and row['square'] == '6']
    assert f'its best was {max(plain):.1f} %' in page and np.max(plain) < 70
    assert f'{len(kept())} starts' in page
