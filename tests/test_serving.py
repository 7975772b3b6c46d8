"""A `Classifier` that several threads share, and one that is forked."""
from bench import read_rows
from loading import ROOT, load

proof = load('proofs/serving.py')


def test_threads_share_a_classifier_and_forks_answer(tmp_path):
    proof.main(['--engines', 'mxnet', 'onnxruntime', '--requests', '200', '--csv',
                str(tmp_path / 'rows.csv')])
    assert [(row['wrong'], row['forked']) for row in read_rows(tmp_path / 'rows.csv')] == [
        ('0', 'answers')] * 2


def test_the_page_shows_what_was_measured():
    page = (ROOT / 'docs' / 'leaving-mxnet.md').read_text(encoding='utf-8')
    rows = read_rows(ROOT / 'proofs' / 'serving.csv')
    assert [row['engine'] for row in rows] == list(proof.ENGINES)
    for row in rows:
        assert proof.held(row) and (row.pop('requests'), row.pop('threads')) == ('10000', '4')
        assert f'| {" | ".join(row.values())} |' in page
