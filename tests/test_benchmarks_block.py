"""benchmarks/block.py: its predictions by hand, and a quick run of all of it."""
import csv
import math
import subprocess
import sys
from pathlib import Path

import pytest
from bench import read_rows
from loading import load

ROOT = Path(__file__).resolve().parents[1]


BENCHMARK = load('benchmarks/block.py')
C, M = 16, 8


@pytest.mark.parametrize('block, products', [
    ('A² left', lambda p: 2 * M * M * p), ('A² right', lambda p: 2 * M * p * p),
    ('NL', lambda p: 2 * M * p * p)])
def test_multiply_adds_by_hand(block, products):
    for size, p in (((3, 5), 15), ((2, 3, 5), 30)):
        known = BENCHMARK.counted(BENCHMARK.Point(block, C, size))
        # φ, θ, ρ (or g) and the expansion
        assert known['multiply_adds'] == 4 * C * M * p + products(p)


def test_the_maps_of_squeeze_and_excitation_by_hand():
    """X, its mean, a convolution to 1 value, one to 16, and X scaled; the activations lie where
    their inputs do."""
    known = BENCHMARK.counted(BENCHMARK.Point('SE', C, (3, 3)))
    assert known['maps_mb'] * 2 ** 18 == 9 * C + C + 1 + C + 9 * C
    # of the input, the output and the largest map, which X is too
    assert known['gradients_mb'] * 2 ** 18 == 3 * 9 * C
    assert known['weights_mb'] * 2 ** 18 == C + 1 + C + C
    assert known['multiply_adds'] == 2 * C


def test_the_first_product_is_the_papers():
    """Section 2.3 has 32 frames of 28×28 and 512 channels: 1 MB left, more than 2 GB right; here m
    = n = c/2."""
    size = {block: BENCHMARK.first_product(BENCHMARK.Point(block, 1024, (32, 28, 28)))
            for block in BENCHMARK.BLOCKS[:4]}
    assert size['A² left'] == size['A² auto'] == 1.0
    assert size['A² right'] == size['NL'] == (32 * 28 * 28) ** 2 / 2 ** 18 > 2048


def test_crossings():
    p = [8, 32, 128, 512]
    right = [n ** 2 for n in p]
    # 50 n = n²: straight lines, exact
    assert BENCHMARK.crossings(p, [50 * n for n in p], right) == [pytest.approx(50)]
    assert BENCHMARK.crossings(p, [4 * n for n in p], right) == []  # below the smallest
    assert BENCHMARK.crossings([8, 32], [2, 8], [8, 2]) == [pytest.approx(math.sqrt(8 * 32))]
    # all of them, where noise makes several
    assert len(BENCHMARK.crossings(p, [1, 3, 1, 3], [2, 2, 2, 2])) == 3


def test_what_is_left_out_and_why():
    point, gigabyte = BENCHMARK.Point('NL', 128, (32, 28, 28)), 1e9
    known = BENCHMARK.counted(point)
    assert BENCHMARK.hindrance(point, known, 1e12, 60, 100 * gigabyte) is None
    reason = BENCHMARK.hindrance(point, known, 1e12, 60, 9 * gigabyte)
    # two maps of 2.5, twice
    assert reason.startswith('needs up to 10.') and reason.endswith('GB, 9.0 are free')
    # 3 · 81.4 G
    assert BENCHMARK.hindrance(point, known, 1e10, 20, 100 * gigabyte) == 'a step of about 24 s'


def test_the_rate_is_of_large_products_of_the_papers_block():
    points = {BENCHMARK.Point(block, 64, (56, 56)): {'multiply_adds': work} for block, work in (
        ('A² left', 1000), ('A² right', 2000), ('A² auto', 100), ('NL', 4000))}
    seconds = dict(zip(points, (10, 40, 1000, 1)))
    # of 100 and 50; auto is too small, NL is not asked
    assert BENCHMARK.fit_rate(points, seconds) == 75


def test_all_of_it_quickly(tmp_path):
    subprocess.run([
        sys.executable,
        str(ROOT / 'benchmarks' / 'block.py'), '--quick', '--rounds', '3', '--out',
        str(tmp_path)
    ], check=True, capture_output=True, timeout=300)
    with open(tmp_path / 'block.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 and {row['block'] for row in rows} == set(BENCHMARK.BLOCKS)
    for row in rows:
        assert row['status'] == 'measured' and row['rounds'] == '3'
        for way in BENCHMARK.WAYS:
            assert 0 < float(row[f'{way}_lowest']) <= float(row[f'{way}_ms']) <= float(
                row[f'{way}_highest'])
            assert float(row[f'{way}_mb']) >= 0 and float(row[f'{way}_predicted']) >= 0
    with open(tmp_path / 'block_crossover.csv', newline='', encoding='utf-8') as file:
        assert [(row['of'], row['predicted_positions']) for row in csv.DictReader(file)] == [
            ('forward_ms', '8'), ('step_ms', '8'), ('step_mb', '8')]
    assert (tmp_path / 'block.png').read_bytes().startswith(b'\x89PNG')


def test_the_gate_both_ways(tmp_path, capsys):
    BENCHMARK.main(['--gate', '--quick', '--rounds', '3', '--out', str(tmp_path)])
    (row,) = read_rows(tmp_path / 'block_gate.csv')
    assert row['shape'] == '32×128×16×16'
    assert 0 < float(row['ratio_lowest']) <= float(row['ratio']) <= float(row['ratio_highest'])
