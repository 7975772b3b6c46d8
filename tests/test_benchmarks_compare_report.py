"""The comparison as CSV and Markdown."""
import re

import compare_report as report
import comparison
import pytest
from bench import ROOT, read_rows
from compare_networks import IMAGE, VIDEO


@pytest.fixture(scope='module')
def rows():
    return comparison.rows()


@pytest.fixture(scope='module')
def written(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp('report') / 'new'
    return report.write_report(rows, 'the command', folder, 0.25)


def markdown_tables(text):
    """[{network: cells}] of every table."""
    tables = []
    for block in re.findall(r'(?:^\|.*\n)+', text, re.MULTILINE):
        lines = [[cell.strip() for cell in line[1:-1].split('|')]
                 for line in block.splitlines()]
        assert len({len(line) for line in lines}) == 1 and set(''.join(lines[1])) == {'-'}
        tables.append({line[0]: dict(zip(lines[0], line)) for line in lines[2:]})
    return tables


def test_markdown_says_what_the_csv_says(written):
    filed = {row['network']: row for row in read_rows(written[0])}
    *measured, published = markdown_tables(written[1].read_text(encoding='utf-8'))
    assert [tuple(part) for part in measured] == [IMAGE, IMAGE, VIDEO, VIDEO]
    assert tuple(published) == IMAGE + VIDEO
    images, videos = ({name: {**speed[name], **size[name]} for name in speed}
                      for speed, size in (measured[:2], measured[2:]))
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


def test_what_is_published_nowhere_stays_empty(written):
    filed = {row['network']: row for row in read_rows(written[0])}
    assert {name for name, row in filed.items() if not row['published_top1']} == {
        'nl_resnet50', 'a2_resnet152', 'nl_resnet152', 'se_resnet152', 'se_resnet50_v1',
        'resnet50_3d', 'nl_resnet50_3d'
    }
    assert all(
        bool(row['published_source']) == bool(row['published_top1']) for row in filed.values())


def test_the_text_names_command_machine_and_threads(rows):
    text = report.as_markdown(rows, report.machine(0.25), 'python benchmarks/compare_zoo.py')
    assert '    python benchmarks/compare_zoo.py\n' in text and '; 2 threads.' in text
    assert re.search(r'CPU: .+; Python: 3\.\d+\.\d+; mxnet: 1\.9\.1;.*date: \d{4}-\d\d-\d\d', text)


def test_all_files_are_written(written):
    assert [path.name for path in written] == ['compare_zoo.csv', 'compare_zoo.md',
                                               'compare_zoo.png']
    assert all(path.stat().st_size > 1000 for path in written)


def test_the_page_that_is_kept_is_what_its_csv_says():
    kept = report.read(ROOT / 'benchmarks' / 'compare_zoo.csv')
    page = (ROOT / 'docs' / 'compare_zoo.md').read_text(encoding='utf-8')
    assert page[page.index('## '):] == report.tables(kept) + '\n'
