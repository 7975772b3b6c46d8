"""The comparison as CSV, Markdown and a picture."""
import csv
import io
import re

import cv2
import numpy as np
import pytest

from gluon_a2.compare import picture, report
from gluon_a2.compare.networks import IMAGE, NETWORKS, VIDEO
from gluon_a2.compare.rounds import Plan, Times, table


@pytest.fixture(scope='module')
def rows():
    """As `table` makes them, of all networks, with made-up times."""
    found = {}
    for number, name in enumerate([*IMAGE, *VIDEO], 1):
        times = Times()
        times.latency, times.throughput = [.01 * number, .013 * number], [.071 * number]
        times.training = [.31 * number]
        times.counted = {'parameters': 3_456_789 * number, 'trained': 1, 'flops': 1_234_567_890,
                         'file_bytes': 98_765_432, 'threads': 2}
        times.peak = {'inference': 123_456_789, 'training': 987_654_321}
        found[NETWORKS[name]] = times
    return table(found, Plan())


def parsed(text):
    return {row['network']: row for row in csv.DictReader(io.StringIO(text))}


def markdown_tables(text):
    """[{network: cells}] of every table."""
    tables = []
    for block in re.findall(r'(?:^\|.*\n)+', text, re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip('|\n').split('|')]
                 for line in block.splitlines()]
        assert len({len(line) for line in lines}) == 1 and set(''.join(lines[1])) == {'-'}
        tables.append({line[0]: dict(zip(lines[0], line)) for line in lines[2:]})
    return tables


def test_markdown_says_what_the_csv_says(rows):
    filed = parsed(report.as_csv(rows))
    images, videos, published = markdown_tables(
        report.as_markdown(rows, {'CPU': 'a CPU'}, 'the '
                           'command'))
    assert (tuple(images), tuple(videos), tuple(published)) == (IMAGE, VIDEO, IMAGE + VIDEO)
    for name, shown in {**images, **videos}.items():
        row, unit = filed[name], 'img/s, batch 8' if name in images else 'clips/s, batch 1'
        middle, low, high = map(float, re.findall(r'[\d.]+', shown[unit]))
        for value, which in ((middle, ''), (low, '_lowest'), (high, '_highest')):
            assert value == pytest.approx(float(row[f'throughput{which}']), rel=5e-3)
        assert float(shown['parameters, M']) == pytest.approx(
            int(row['parameters']) / 1e6, abs=.006)
        assert float(shown['memory, MB']) == pytest.approx(
            int(row['peak_inference_bytes']) / 1e6, abs=.5)
        assert float(shown['memory in training, MB']) == pytest.approx(
            int(row['peak_training_bytes']) / 1e6, abs=.5)
        assert float(shown['file, MB']) == pytest.approx(int(row['file_bytes']) / 1e6, abs=.05)
        assert float(shown['FLOPs, G']) == 1.235
        assert published[name]['top-1'] == row['published_top1'] and shown['of'] == row['family']
        assert published[name]['source'] == row['published_source']


def test_what_is_published_nowhere_stays_empty(rows):
    filed = parsed(report.as_csv(rows))
    assert {name for name, row in filed.items() if not row['published_top1']} == {
        'nl_resnet50', 'a2_resnet152', 'nl_resnet152', 'se_resnet152', 'se_resnet50_v1',
        'resnet50_3d', 'nl_resnet50_3d'
    }
    assert all(
        bool(row['published_source']) == bool(row['published_top1']) for row in filed.values())


def test_the_text_names_command_machine_and_threads(rows):
    text = report.as_markdown(rows, report.machine(0.25), 'python scripts/compare_zoo.py --rounds '
                                                          '3')
    assert '    python scripts/compare_zoo.py --rounds 3\n' in text and '; 2 threads.' in text
    assert re.search(r'CPU: .+; Python: 3\.\d+\.\d+; mxnet: 1\.9\.1;.*date: \d{4}-\d\d-\d\d', text)
    assert 'Scored here' not in text


def test_scored_networks_have_a_table_of_their_own(rows):
    scored = {'scored_top1': 75.0, 'scored_top5': 87.5, 'scored_images': 8}
    empty = dict.fromkeys(scored)
    text = report.as_markdown([{**rows[0], **scored}, {**rows[1], **empty}], {}, '')
    assert markdown_tables(text)[-1] == {
        rows[0]['network']: {
            'network': rows[0]['network'], 'top-1': '75.00', 'top-5': '87.50', 'images': '8'
        }
    }


def drawn(rows):
    image = cv2.imdecode(np.frombuffer(picture.as_png(rows), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.std() > 5
    return image


def near(image, colour, tolerance=30):
    """Pixels near a colour, given as '#rrggbb'."""
    bgr = np.array([int(colour[i:i + 2], 16) for i in (5, 3, 1)])
    return int((np.abs(image.astype(int) - bgr).max(axis=2) < tolerance).sum())


@pytest.mark.parametrize('which', ['all', 'images', 'one', 'unpublished'])
def test_the_picture_has_a_panel_for_each_kind(rows, which):
    chosen = {'all': rows, 'images': rows[:len(IMAGE)], 'one': rows[:1],
              'unpublished': [row for row in rows if row['published_top1'] is None]}[which]
    image = drawn(chosen)
    assert image.shape[1] == (770 if which in ('images', 'one') else 1540)


def test_a_bubble_is_as_large_as_its_network(rows):
    """Four times the parameters: four times the area, whatever else is drawn in the colour."""
    filled = next(row for row in rows if row['network'] == 'a2_resnet50')
    areas = [
        near(drawn([{**filled, 'parameters': size}]), '#d8806d', 12)
        for size in (0, 25_000_000, 100_000_000)
    ]
    assert (areas[2] - areas[0]) / (areas[1] - areas[0]) == pytest.approx(4, rel=.15)


def test_all_files_are_written(rows, tmp_path):
    paths = report.write_report(rows, 'the command', tmp_path / 'new' / 'folder', 0.25)
    assert [path.name for path in paths] == ['compare_zoo.csv', 'compare_zoo.md', 'compare_zoo.png']
    assert all(path.stat().st_size > 1000 for path in paths)
    assert paths[0].read_text(encoding='utf-8') == report.as_csv(rows)
