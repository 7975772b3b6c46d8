"""How widely gathering maps are spread: the measures by hand, and the script on a real network."""
import cv2
import numpy as np
import pytest
import tiny_bundle
from bench import read_rows
from loading import load

from gluon_a2.deploy.bundle import write_bundle

support = load('benchmarks/attention_support.py')


def test_spread_counts_equal_shares():
    assert support.spread([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0]]).tolist() == pytest.approx(
        [4, 1, 2])


def test_percentiles_go_by_weight():
    values, weights = [[3, 1], [2, 9]], [[1, 5], [3, 1]]  # in order: 1 (5), 2 (3), 3 (1), 9 (1)
    assert support.percentiles(values, weights).tolist() == [1, 1, 3]
    assert support.percentiles(values, weights, (51, 100)).tolist() == [2, 9]


def test_a_row_says_what_was_read_of_sparse_and_of_dense_maps():
    seen = support.Seen('conv3_unit1', 16, np.array([[0.1, 0.5, 0.9], [0.2, 0.8, 0.9]]),
                        np.array([[0.5, 0.5, 0], [0.2, 0.4, 0.4]]), np.array([True, True, False]))
    row = support.row('net', 'data', seen)
    assert (row['read_sparse'], row['read_dense']) == ('0.3500', '0.4000')
    assert (row['support_10'], row['support_50'], row['support_90']) == (
        '0.1000', '0.5000', '0.9000')
    assert (row['pictures'], row['descriptors'], row['never_chosen']) == (2, 3, 1)
    # exp(entropy) of (1/2, 1/2) is 2, of (1/5, 2/5, 2/5) 2.87; of their mean (0.35, 0.45, 0.2) 2.85
    assert (row['used_in_a_picture'], row['used_over_all']) == ('2.4', '2.9')


def test_the_script_measures_every_block_and_draws(tmp_path):
    write_bundle(tiny_bundle.make('a2_resnet26'), str(tmp_path / 'net'))
    for i, name in enumerate(tiny_bundle.make('a2_resnet26').meta['classes']):
        folder = tmp_path / 'data' / 'val' / name
        folder.mkdir(parents=True)
        image = np.random.default_rng(i).integers(0, 256, (50, 50, 3), np.uint8)
        cv2.imwrite(str(folder / '0.png'), image)
    support.main([f'{tmp_path / "net"}={tmp_path / "data"}', '--pictures', '2',
                  '--csv', str(tmp_path / 'rows.csv'), '--png', str(tmp_path / 'maps.png')])
    rows = read_rows(tmp_path / 'rows.csv')
    assert [row['block'] for row in rows] == ['conv3_unit1', 'conv3_unit2', 'conv4_unit1',
                                              'conv4_unit2']
    for row in rows:
        spreads = [float(row[f'support_{p}']) for p in (10, 50, 90)]
        assert 1 / int(row['positions']) <= spreads[0] <= spreads[1] <= spreads[2] <= 1
        assert row['pictures'] == '2'
    assert cv2.imread(str(tmp_path / 'maps.png')).shape[0] > 500
