import math

import bfloat16
import pytest
from bench import read_rows
from tiny_bundle import avx512


def test_the_interval_is_students():
    """Of differences 1, 2, 3, whose mean has a standard error of 1/√3; t is from a table."""
    mean, half = bfloat16.interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert math.isnan(bfloat16.interval([0.5])[1])


def test_seeds_are_paired_and_half_a_pair_is_left_out():
    rows = [{'task': task, 'seed': seed, 'dtype': dtype, 'top1': top1}
            for task, seed, dtype, top1 in [
                ('few', '0', 'float32', '0.90'), ('few', '0', 'bfloat16', '0.91'),
                ('few', '1', 'float32', '0.95'), ('few', '1', 'bfloat16', '0.94'),
                ('few', '2', 'float32', '0.10'), ('motion', '0', 'float32', '0.5')]]
    assert bfloat16.summary(rows) == [{
        'task': 'few', 'seeds': 2, 'float32': '92.50', 'bfloat16': '92.50',
        'difference': '+0.00', 'interval': '-12.71 to +12.71'}]


@avx512
def test_each_run_is_kept(tmp_path, monkeypatch, capsys):
    few = bfloat16.TASKS['few']
    monkeypatch.setitem(bfloat16.TASKS, 'few', few._replace(
        flags=(*few.flags, '--num-steps', '2', '--input-size', '16')))
    bfloat16.main(['--tasks', 'few', '--seeds', '1', '--csv', str(tmp_path / 'runs.csv')])
    rows = read_rows(tmp_path / 'runs.csv')
    assert [(row['seed'], row['dtype'], row['steps']) for row in rows] == [
        ('0', 'float32', '2'), ('0', 'bfloat16', '2')]
    assert rows[0]['loss'] != rows[1]['loss']
    assert 'few' in capsys.readouterr().out


@avx512
def test_steps_are_timed_in_turn(tmp_path, capsys):
    bfloat16.main(['--speed', '--model', 'a2_resnet26', '--input-size', '32', '--batch-size', '2',
                   '--rounds', '2', '--csv', str(tmp_path / 'speed.csv')])
    one, other = read_rows(tmp_path / 'speed.csv')
    assert (one['dtype'], one['ratio'], other['dtype']) == ('float32', '1.0', 'bfloat16')
    assert float(other['ratio']) > 0
