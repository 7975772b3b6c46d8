"""The embedded videos: real files, of every class as many, whose single frames tell nothing."""
import collections
import os
import shutil

import numpy as np
import pytest

from gluon_a2.data import moving_digits
from gluon_a2.data.moving_digits import (
    CLASSES,
    COUNTS,
    FRAMES,
    SIDE,
    frames_of,
    moving_digits_folder,
    write_video,
)
from gluon_a2.errors import UserError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return moving_digits_folder(tmp_path_factory.mktemp('cache'))


def dot():
    """A digit that is one bright point in its middle."""
    digit = np.zeros((8, 8))
    digit[3:5, 3:5] = 16
    return digit


def centres(frames):
    """Where the light is, as float64 T×2 (x, y), the picture taken for a ring in both
    directions."""
    angles = 2 * np.pi * np.arange(SIDE) / SIDE
    light = frames[..., 0].astype(float)
    turns = [np.angle((light.sum(axis=axis) * np.exp(1j * angles)).sum(-1)) for axis in (1, 2)]
    return np.stack(turns, axis=-1) % (2 * np.pi) * SIDE / (2 * np.pi)


def steps(frames):
    """From one frame to the next, in pixels, the shorter way round; T−1×2."""
    return (np.diff(centres(frames), axis=0) + SIDE / 2) % SIDE - SIDE / 2


@pytest.mark.parametrize('motion, way', [('left', (-1, 0)), ('right', (1, 0)), ('up', (0, -1)),
                                         ('down', (0, 1))])
def test_straight_motions_go_where_they_say_at_one_speed(motion, way):
    for seed in range(5):
        moved = steps(frames_of(dot(), motion, np.random.default_rng(seed)))
        along = moved @ np.array(way)
        assert (along > 0.7).all() and (along < 2.3).all() and np.ptp(along) < 0.5
        assert abs(moved @ np.array(way[::-1])).max() < 0.2


@pytest.mark.parametrize('motion, sign', [('clockwise', 1), ('anticlockwise', -1)])
def test_circles_turn_the_way_they_say(motion, sign):
    """On a picture whose y axis points down, clockwise is from +x to +y."""
    for seed in range(5):
        moved = steps(frames_of(dot(), motion, np.random.default_rng(seed)))
        turns = moved[:-1, 0] * moved[1:, 1] - moved[:-1, 1] * moved[1:, 0]
        assert np.median(sign * turns) > 0.1


def test_a_single_frame_is_anywhere_in_every_class():
    for motion in CLASSES:
        first = [centres(frames_of(dot(), motion, np.random.default_rng(seed))[:1])[0]
                 for seed in range(200)]
        quarters = collections.Counter(
            map(tuple, (np.array(first) % SIDE // (SIDE / 2)).astype(int).tolist()))
        assert len(quarters) == 4 and min(quarters.values()) > 25  # 50 each, if it is uniform


def test_the_files_are_as_many_as_it_says_in_the_folders_of_kinetics(folder):
    for part, count in COUNTS.items():
        assert sorted(os.listdir(os.path.join(folder, part))) == list(CLASSES)
        for motion in CLASSES:
            files = os.listdir(os.path.join(folder, part, motion))
            assert len(files) == count // len(CLASSES)
            assert sum(name.endswith('.mp4') for name in files) == sum(
                name.endswith('.avi') for name in files)


def test_they_are_h264_and_mpeg4_with_b_frames(folder):
    import av
    for name, codec in (('val/up/005.mp4', 'h264'), ('val/up/011.avi', 'mpeg4')):
        with av.open(os.path.join(folder, name)) as container:
            frames = list(container.decode(video=0))
            assert container.streams.video[0].codec_context.name == codec
        assert len(frames) == FRAMES and (frames[0].width, frames[0].height) == (SIDE, SIDE)
        assert sum(int(frame.pict_type) == 3 for frame in frames) > 5  # 1 is I, 2 is P, 3 is B


def test_a_folder_that_is_not_whole_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / 'moving-digits')
    (tmp_path / 'moving-digits' / 'val' / 'up' / '005.mp4').unlink()
    with pytest.raises(UserError, match='holds 119 instead of 120 val samples: remove it to have '
                                        'it rebuilt'):
        moving_digits_folder(tmp_path)


def test_without_pyav_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__('sys').modules, 'av', None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[video\]' in the checkout"):
        write_video(str(tmp_path / 'x.mp4'), np.zeros((2, 16, 16, 3), np.uint8), 'libx264')


def test_training_and_validation_show_different_digits():
    train, val = (set(moving_digits.part_indices(part, 1797).tolist()) for part in ('train', 'val'))
    assert not train & val and len(train | val) == 1797
