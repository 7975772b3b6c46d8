"""Cued motion: clips that do what their labels say, and files that hold them to the pixel."""
from collections import Counter

import numpy as np
import pytest
from loading import load

from gluon_a2.data.video import open_video

motion = load('benchmarks/cued_motion.py')
IMAGES = np.full((3, 28, 28), 255, np.uint8)  # digits are squares, which are easy to follow


def goes(masks, still, expected):
    """Whether a step of one or two pixels the expected way, rather than another, takes the pixels
    of each frame, apart from what stands still, to those of the next."""
    masks = (masks & ~still).astype(int)
    fits = {name: sum(max((np.roll(one, (step * down, step * right), (0, 1)) * other).sum()
                          for step in (1, 2)) for one, other in zip(masks, masks[1:]))
            for name, (right, down) in motion.WAYS.items()}
    return max(fits, key=fits.get) == expected


@pytest.mark.parametrize('far, near', [(0, 0), (1, 1), (0, 3), (2, 1), (3, 2)])
def test_clips_do_what_their_labels_say(far, near):
    """The square has the colour of the digit that goes far's way; the dot goes near's way."""
    for seed in range(4):
        clip = motion.draw(far, near, IMAGES, np.random.default_rng(seed))
        assert clip.shape == (16, 32, 32, 3)
        still = (clip == clip[0]).all((0, 3)) & (clip[0].max(2) > 0)
        colour = np.bincount(clip[0][still].argmax(1), minlength=3).argmax()
        names = list(motion.WAYS)
        high = motion.COLOURS[colour].astype(np.uint8)[colour]
        assert goes(clip[..., colour] == high, still, names[far])
        assert goes((clip == 255).all(3), still, names[near])


def test_files_hold_the_clips_of_both_questions(tmp_path, monkeypatch):
    monkeypatch.setattr(motion, 'read_mnist', lambda folder, part, check: (IMAGES, None))
    motion.write(tmp_path, {'train': 36}, 4, None)
    drawn = list(motion.clips('train', 36, 4, None))
    names = sorted(motion.WAYS)
    assert names == list(motion.WAYS), 'as folders are sorted'
    for i, (clip, far, near) in enumerate(drawn):
        for question, answer in (('far', far), ('near', near)):
            file = tmp_path / question / 'train' / names[answer] / f'{i:05d}.mkv'
            np.testing.assert_array_equal(list(open_video(file).read(range(16))), clip)
    for question in ('far', 'near'):
        folders = Counter(path.parent.name for path in tmp_path.glob(f'{question}/train/*/*'))
        assert set(folders.values()) == {9} and len(folders) == 4


def test_a_number_that_cannot_be_balanced_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(motion, 'mnist_folder', lambda given: tmp_path)
    monkeypatch.setattr(motion, 'read_mnist', lambda folder, part, check: (IMAGES, None))
    with pytest.raises(SystemExit):
        motion.main([str(tmp_path / 'x'), '--train', '35'])
    assert 'multiple of 36' in capsys.readouterr().err


def test_a_sheet_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(motion, 'read_mnist', lambda folder, part, check: (IMAGES, None))
    motion.sheet(tmp_path / 'sheet.png', 36, None)
    assert (tmp_path / 'sheet.png').read_bytes()[:4] == b'\x89PNG'
