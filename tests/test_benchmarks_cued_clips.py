"""Cued clips: a picture's cells one after another, and files that hold them to the pixel."""
from collections import Counter

import numpy as np
import pytest
from loading import load

from gluon_a2.data.video import open_video

clips = load('benchmarks/cued_clips.py')
SIDE, CELL = 20, 16


@pytest.fixture
def mnist(monkeypatch):
    """Twelve made-up digits, 0 to 2, each a square of its own size."""
    images = np.zeros((12, 28, 28), np.uint8)
    for number, image in enumerate(images):
        image[8:14 + number, 8:14 + number] = 255
    cued_digits = clips.pictures.__globals__
    monkeypatch.setitem(cued_digits, 'read_mnist',
                        lambda folder, part, check: (images, np.arange(12) % 3))


def test_each_cell_has_a_quarter_of_the_time_and_moves_straight():
    """Cells of noise without a zero, so that each is found where it is."""
    picture = np.random.default_rng(0).integers(1, 256, (32, 32, 3), np.uint8)
    speeds = []
    for seed in range(50):
        clip = clips.draw(picture, np.random.default_rng(seed))
        assert clip.shape == (16, SIDE, SIDE, 3) and clip.dtype == np.uint8
        for quarter in range(4):
            top, left = CELL * (quarter // 2), CELL * (quarter % 2)
            places = []
            for frame in clip[4 * quarter:4 * quarter + 4]:
                y, x = np.argwhere(frame.any(2))[0]
                places.append((y, x))
                np.testing.assert_array_equal(frame[y:y + CELL, x:x + CELL],
                                              picture[top:top + CELL, left:left + CELL])
                assert frame.any(2).sum() == CELL ** 2
            steps = np.diff(places, axis=0)
            assert np.ptp(steps, 0).max() <= 1, 'a straight line, but for rounding'
            speeds += list(abs(np.mean(steps, 0)))
    assert 0 <= min(speeds) < 0.2 and 0.8 < max(speeds) <= 1


def test_answers_are_those_of_the_pictures(mnist):
    drawn = list(clips.clips('train', 18, 3, 5, None))
    pictures = list(clips.pictures('train', 18, 3, 5, None))
    assert [labels for _, *labels in drawn] == [labels for _, *labels in pictures]
    for (clip, *_), (picture, *_) in zip(drawn, pictures):
        seen = np.stack([clip[::4].reshape(4, -1, 3).sum((1, 2), int),
                         clip[3::4].reshape(4, -1, 3).sum((1, 2), int)])
        cells = [picture[y:y + CELL, x:x + CELL].sum(dtype=int) for y in (0, CELL)
                 for x in (0, CELL)]
        np.testing.assert_array_equal(seen, [cells, cells])


def test_the_seed_draws_training_clips_alone(mnist):
    def all_of(part, seed):
        return np.stack([clip for clip, *_ in clips.clips(part, 18, 3, seed, None)])
    assert (all_of('train', 0) != all_of('train', 1)).any()
    np.testing.assert_array_equal(all_of('val', 0), all_of('val', 1))


def test_files_hold_the_clips_of_both_questions(tmp_path, mnist):
    clips.write(tmp_path, {'train': 36}, 3, 4, None)
    for i, (clip, far, near) in enumerate(clips.clips('train', 36, 3, 4, None)):
        for question, answer in (('far', far), ('near', near)):
            file = tmp_path / question / 'train' / str(answer) / f'{i:05d}.mkv'
            np.testing.assert_array_equal(list(open_video(file).read(range(16))), clip)
    for question in ('far', 'near'):
        folders = Counter(path.parent.name for path in tmp_path.glob(f'{question}/train/*/*'))
        assert folders == {'0': 12, '1': 12, '2': 12}


def test_a_number_that_cannot_be_balanced_is_refused(tmp_path, capsys, monkeypatch, mnist):
    monkeypatch.setitem(clips.command.__globals__, 'mnist_folder', lambda given: tmp_path)
    with pytest.raises(SystemExit):
        clips.main([str(tmp_path / 'x'), '--train', '35'])
    assert 'multiple of 18' in capsys.readouterr().err


def test_a_sheet_is_drawn(tmp_path, mnist):
    clips.sheet(tmp_path / 'sheet.png', 36, 3, None)
    assert (tmp_path / 'sheet.png').read_bytes()[:4] == b'\x89PNG'
