"""A scoring as files, without a network: its answers are numbers written here."""
import csv

import cv2
import numpy as np
import pytest

from gluon_a2.scoring.metrics import Answers, softmax
from gluon_a2.visualization import report


class Source:
    """Three samples or more, whose names are hard on a CSV file."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def name(self, i):
        return f'a,"b"\n{i}.png'


class Net:
    """The classes of a network, of images or of clips, and what it sees."""

    def __init__(self, classes, frames=0):
        self.classes, self.frames = classes, frames

    def pictures(self, source, indices):
        return [np.full((self.frames or 1, 8, 8, 3), 20 * i, np.uint8) for i in indices]


def answers(labels, scores, **more):
    found = Answers(np.array(labels), np.shape(scores)[1], **more)
    seen = np.flatnonzero(~np.isnan(scores).any(axis=1))
    scores = np.array(scores, np.float32)[seen]
    found.add(seen, scores, softmax(scores))
    return found


def rows(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.reader(file))


SCORES = [[2, 0, 1], [0, 9, 0], [3, 3, 0], [np.nan] * 3, [0, 1, 0]]  # of labels 0 0 0 0 1


@pytest.mark.parametrize('frames', [0, 12])
def test_every_table_by_hand(tmp_path, frames):
    found = answers([0, 0, 0, 0, 1], SCORES, top=2)
    said = report.save_report(found, Net(('run, fast', '$x', 'walk'), frames), Source(5), tmp_path)
    assert '1 of 1 mistakes in worst.png' in said
    noun = 'videos' if frames else 'images'
    assert rows(tmp_path / 'per_class.csv') == [
        ['class', noun, 'right', 'undecided', 'unreadable', 'accuracy'],
        ['run, fast', '4', '1', '1', '1', '0.2500'], ['$x', '1', '1', '0', '0', '1.0000'],
        ['walk', '0', '0', '0', '0', 'nan']]
    assert rows(tmp_path / 'confusion.csv') == [
        ['class', 'run, fast', '$x', 'walk', 'undecided', 'unreadable'],
        ['run, fast', '1', '1', '0', '1', '1'], ['$x', '0', '1', '0', '0', '0'],
        ['walk', '0', '0', '0', '0', '0']]
    header, *samples = rows(tmp_path / 'samples.csv')
    assert header == ['path', 'label', 'outcome', 'guess_1', 'probability_1', 'guess_2',
                      'probability_2']
    assert samples[0] == ['a,"b"\n0.png', 'run, fast', 'right', 'run, fast', '0.665241', 'walk',
                          '0.244728']
    assert [row[2] for row in samples] == ['right', 'wrong', 'undecided', 'unreadable', 'right']
    assert samples[3][3:] == [''] * 4
    for name in ('confusion.png', 'worst.png'):
        assert np.ptp(cv2.imread(str(tmp_path / name))) > 0
    again = answers([1], [[0, 1, 0]])
    assert 'no mistakes' in report.save_report(again, Net(('a', 'b', 'c')), Source(1), tmp_path)
    assert not (tmp_path / 'worst.png').exists()  # it was of the earlier scoring


def test_wnids_are_shown_with_their_names_and_stay_in_tables(monkeypatch, tmp_path):
    drawn = {}
    monkeypatch.setattr(report, 'draw_confusion', lambda _, classes, *rest: drawn.update(
        classes=classes))
    monkeypatch.setattr(report, 'draw_worst', lambda _, mistakes, png: drawn.update(
        mistakes=mistakes))
    classes = 'n02012849', 'n03126707', 'mine'
    report.save_report(answers([0, 0, 0, 0, 1], SCORES), Net(classes), Source(5), tmp_path)
    assert drawn['classes'] == ['crane (n02012849)', 'crane (n03126707)', 'mine']
    assert drawn['mistakes'][0][1:3] == ('crane (n02012849)', 'crane (n03126707)')
    header, *table = rows(tmp_path / 'per_class.csv')
    assert header[0] == 'class' and header[-1] == 'name'
    assert [row[0] for row in table] == list(classes)
    assert [row[-1] for row in table] == ['crane', 'crane', '']
    assert rows(tmp_path / 'samples.csv')[1][1] == 'n02012849'
    assert rows(tmp_path / 'confusion.csv')[0][1:4] == list(classes)


def test_the_surest_mistakes_come_first():
    scores = np.array([[0, 1, 0], [0, 5, 0], [9, 0, 0], [0, 0, 2]], float)
    found = answers([0, 0, 0, 1], scores)
    assert found.mistakes().tolist() == [1, 3, 0]
    assert found.best.shape == (4, 3)  # no more guesses than classes


def test_of_many_classes_those_with_most_mistakes_are_drawn(monkeypatch, tmp_path):
    drawn = {}

    def keep(figure):
        axes = figure.axes[0]
        drawn['y'] = [label.get_text() for label in axes.get_yticklabels()]
        drawn['x'] = [label.get_text() for label in axes.get_xticklabels()]
        drawn['shares'] = axes.images[0].get_array()
        drawn['title'] = figure._suptitle.get_text()
        return b''

    monkeypatch.setattr(report, 'as_png', keep)
    table = np.zeros((200, 202), int)
    table[np.arange(200), np.arange(200)] = 8
    table[150, [7, 151]] = 2, 6
    table[3, 201] = 2
    report.draw_confusion(table, [f'c{i}' for i in range(200)], tmp_path / 'x.png')
    assert len(drawn['y']) == report.DRAWN and {'c3', 'c7', 'c150', 'c151'} <= set(drawn['y'])
    assert drawn['x'][-3:] == ['all other classes', 'undecided', 'unreadable']
    np.testing.assert_allclose(drawn['shares'].sum(axis=1), 100)
    assert drawn['title'].endswith('the 40 of 200 classes with most mistakes')


def test_views_are_kept_beside_each_other():
    found = Answers(np.zeros(2, int), 3, keep=['logits'])
    found.keep(2, np.array([1, 2, 3]), logits=np.arange(18.).reshape(3, 2, 3))
    assert found.array('logits').shape == (2, 4, 3)  # 2 videos × (2 views of 2 windows) × 3
    assert np.isnan(found.array('logits')[0, :2]).all()
    assert found.array('logits')[1].tolist() == [[6, 7, 8], [9, 10, 11], [12, 13, 14], [15, 16, 17]]
