"""Clips: which frames, which pixels, against plain numpy; the decoder is somebody else's test."""
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gluon_a2 import data
from gluon_a2.data import ClipPreprocessing, Preprocessing, TrainClip, TrainTransform
from gluon_a2.data.augment import cut, shift_colours
from gluon_a2.data.clips import Views, random_clip, read_clip, view_clip
from gluon_a2.data.preprocess import PROTOCOLS
from gluon_a2.errors import UserError

PLAIN = {'max_scale': 1.0, 'min_aspect': 1.0, 'max_aspect': 1.0, 'mirror': False, 'hue': 0,
         'saturation': 0, 'lightness': 0}


def train_clip(size, frames, stride, stretch='training', **fields):
    clip = ClipPreprocessing(size, frames=frames, frame_stride=stride, stretch=stretch)
    return TrainClip(clip, **fields)


def eval_clip(size, frames, stride, crop_ratio=0.875, **fields):
    return ClipPreprocessing(size, crop_ratio, frames=frames, frame_stride=stride, **fields)


class Film:
    """A video in memory, which notes what is asked of it."""

    def __init__(self, frames):
        self.frames, self.asked = frames, []

    def __len__(self):
        return len(self.frames)

    def read(self, numbers):
        assert list(numbers) == sorted(set(numbers))  # as a decoder needs them
        for number in numbers:
            self.asked.append(number)
            yield self.frames[number]


class Films:
    """A source of films."""
    classes = ('a', 'b', 'c')

    def __init__(self, *films):
        self.films, self.labels = films, np.arange(len(films)) % 3

    def __len__(self):
        return len(self.films)

    def name(self, i):
        return f'film {i}'

    def video(self, i):
        return self.films[i]


def noise(length=11, height=23, width=37, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (length, height, width, 3), np.uint8)


def numbered(length, side=8):
    """Every pixel of a frame is its number."""
    return np.arange(length, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, side, side, 3), np.uint8)


def filled(transform, source, index=0, seed=0):
    out = np.full(transform.shape, np.nan, np.float32)
    transform.fill(source, index, np.random.default_rng(seed), out)
    assert np.isfinite(out).all()
    return out


def bytes_of(clip):
    """Undo the normalisation of float32 3×T×H×W; uint8 T×H×W×3."""
    return (clip.transpose(1, 2, 3, 0) / data.SCALE + data.MEAN).round().astype(np.uint8)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 9), st.integers(0, 2 ** 32))
def test_a_random_clip_keeps_its_stride_and_goes_round_only_where_it_must(
        length, frames, stride, seed):
    numbers = random_clip(length, frames, stride, np.random.default_rng(seed))
    assert len(numbers) == frames and (numbers >= 0).all() and (numbers < length).all()
    assert ((np.diff(numbers) - stride) % length == 0).all()
    if (frames - 1) * stride < length:
        assert (np.diff(numbers) == stride).all()
    else:
        assert numbers[0] == 0


def test_every_place_comes_about_as_often():
    rng = np.random.default_rng(0)
    starts = np.bincount([random_clip(20, 4, 5, rng)[0] for _ in range(1000)], minlength=20)
    assert (starts[:5] > 150).all() and starts[5:].sum() == 0


@pytest.mark.parametrize('length, frames, stride, views, starts', [
    (20, 4, 5, 1, [2]),  # places 0…4: the middle one
    (20, 4, 5, 5, [0, 1, 2, 3, 4]),
    (109, 10, 1, 4, [12, 37, 62, 87]),  # places 0…99 in quarters
    (16, 4, 5, 3, [0, 0, 0]),  # one place only
    (3, 4, 5, 2, [0, 0])])
def test_views_are_spread_evenly(length, frames, stride, views, starts):
    assert [view_clip(length, frames, stride, view, views)[0] for view in range(views)] == starts


def test_a_short_video_begins_again():
    assert view_clip(5, 4, 2).tolist() == [0, 2, 4, 1]
    assert random_clip(1, 3, 8, np.random.default_rng(0)).tolist() == [0, 0, 0]


def test_each_frame_is_decoded_once_and_put_in_all_its_places():
    film = Film(numbered(3))
    clip = np.zeros(7, int)
    for places, frame in read_clip(film, np.array([2, 0, 1, 2, 0, 1, 2])):
        clip[places] = frame[0, 0, 0]
    assert clip.tolist() == [2, 0, 1, 2, 0, 1, 2] and film.asked == [0, 1, 2]


def test_without_augmentation_the_frames_are_only_resized():
    film, transform = Film(noise()), train_clip(13, 3, 2, **PLAIN)
    clip = bytes_of(filled(transform, Films(film), seed=5))
    first = np.random.default_rng(5).integers(11 - 5 + 1)
    expected = [cv2.resize(film.frames[first + 2 * t], (13, 13), interpolation=cv2.INTER_LINEAR)
                for t in range(3)]
    np.testing.assert_array_equal(clip, expected)


def test_all_frames_of_a_clip_are_augmented_alike():
    """Of a film of one repeated frame every frame of the clip is the same, whatever was drawn."""
    film = Film(noise(1).repeat(9, axis=0))
    clips = [bytes_of(filled(train_clip(13, 4, 2), Films(film), seed=seed)) for seed in range(20)]
    for clip in clips:
        np.testing.assert_array_equal(clip, clip[:1].repeat(4, axis=0))
    assert len({clip.tobytes() for clip in clips}) == 20


@pytest.mark.parametrize('choice', [
    {'max_scale': 1.5}, {'max_aspect': 1.5}, {'mirror': True}, {'hue': 9}, {'saturation': 9},
    {'lightness': 9}])
def test_each_augmentation_does_something(choice):
    films = Films(Film(noise(4)))
    plain, changed = ([filled(train_clip(13, 4, 1, **{**PLAIN, **extra}), films, seed=seed)
                       for seed in range(8)] for extra in ({}, choice))
    assert any((a != b).any() for a, b in zip(plain, changed))


def test_colours_are_shifted_as_those_of_images_frame_by_frame():
    shift = {'hue': 15, 'saturation': 25, 'lightness': 35}
    film = Film(noise(3))
    clip = bytes_of(filled(train_clip(13, 3, 1, **{**PLAIN, **shift}), Films(film), seed=3))
    rng = np.random.default_rng(3)
    # what comes before
    rng.integers(1), rng.uniform(), rng.random(), rng.uniform(), rng.uniform(), rng.uniform()
    shifts = rng.integers([-15, -35, -25], [16, 36, 26])
    drawn = SimpleNamespace(integers=lambda low, high: shifts)
    for t in range(3):
        small = cv2.resize(film.frames[t], (13, 13), interpolation=cv2.INTER_LINEAR)
        limits = TrainTransform(Preprocessing(13), **shift)
        np.testing.assert_array_equal(clip[t], shift_colours(small, limits, drawn))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 2 ** 32))
def test_the_window_lies_inside_frames_of_any_shape(height, width, size, seed):
    box = train_clip(size, 1, 1)._window(np.random.default_rng(seed))
    assert all(0 <= start <= start + length <= 1 + 1e-12 for start, length in zip(box[:2], box[2:]))
    assert cut(np.zeros((height, width, 3), np.uint8), box, size).shape == (size, size, 3)


def test_windows_have_the_sizes_of_the_authors_code():
    """Short side size…size·9/7 after a stretch to a square and to an aspect of 0.64…1.5625."""
    boxes = np.array([train_clip(7, 1, 1)._window(np.random.default_rng(seed))
                      for seed in range(2000)])
    width, height = boxes[:, 2], boxes[:, 3]
    short = 1 / np.maximum(width, height)  # of the stretched frame, in crop sides
    aspect = height / width
    assert 1 <= short.min() < 1.01 and 1.28 < short.max() <= 9 / 7
    assert 0.64 <= aspect.min() < 0.66 and 1.53 < aspect.max() <= 1.5625
    assert abs(np.log(aspect).mean()) < 0.02  # neither wide nor tall


def circle(clip, width, height):
    """Width over height of what was a circle: the places in the frame are the pixels' values."""
    first, last = bytes_of(clip)[0, [0, -1], [0, -1]].astype(int)
    across, down, _ = last - first
    return (down * height) / (across * width)


def places(width, height):
    """A film of one frame, whose red and green grow with x and y from 0 to 255."""
    y, x = np.mgrid[:height, :width]
    return Film(np.stack([255 * x / (width - 1), 255 * y / (height - 1), 0 * x],
                         -1).round().astype(np.uint8)[None])


@pytest.mark.parametrize('width, height, squeezed', [
    (455, 256, 0.56), (340, 256, 0.75), (320, 240, 0.75)])
@pytest.mark.parametrize('stretch', ['both', 'training', 'neither'])
def test_training_and_testing_see_the_same_proportions(width, height, squeezed, stretch):
    """Both as PyTorch-MFNet does, or neither as GloRe; older versions mixed the two."""
    films = Films(places(width, height))
    # The aspect apart, which varies around this: it is as likely as its inverse.
    training = train_clip(112, 1, 1, stretch, **{**PLAIN, 'max_scale': 9 / 7})
    trained = [circle(filled(training, films, seed=seed), width, height) for seed in range(40)]
    tested = circle(filled(eval_clip(112, 1, 1, stretch=stretch), films), width, height)
    assert np.mean(trained) == pytest.approx(1 if stretch == 'neither' else squeezed, rel=0.015)
    assert tested == pytest.approx(squeezed if stretch == 'both' else 1, rel=0.02)


def test_strides_are_drawn_in_training_alone():
    film = Film(numbered(60))
    transform = train_clip(8, 4, 9, train_strides=(1, 2, 2, 3), **PLAIN)
    clips = [bytes_of(filled(transform, Films(film), seed=seed))[:, 0, 0, 0].astype(int)
             for seed in range(400)]
    strides = [set(np.diff(clip)) for clip in clips]
    assert all(len(one) == 1 for one in strides)
    counts = np.bincount([one.pop() for one in strides], minlength=4)
    assert counts.sum() == 400 and abs(counts - np.array([0, 100, 200, 100])).max() < 40
    tested = filled(transform.preprocessing, Films(film))
    assert set(np.diff(bytes_of(tested)[:, 0, 0, 0].astype(int))) == {9}


def mfnet(views=5, **fields):
    """The preprocessing of clips of 2×8×8 by the protocol of PyTorch-MFNet."""
    return eval_clip(8, 2, 3, 0.5, **{'views': views, **PROTOCOLS['mfnet'], **fields})


def test_random_views_are_those_of_the_authors_test():
    """Frames stretched to 16×16, bilinear; a clip and a window of 8×8 at random, alike for its
    frames."""
    film, starts, corners = Film(noise(12, 30, 50)), set(), set()
    stretched = [cv2.resize(frame, (16, 16), interpolation=cv2.INTER_LINEAR)
                 for frame in film.frames]
    for seed in range(60):
        clip = bytes_of(filled(mfnet(), Films(film), seed=seed))
        found = [(t, y, x) for t in range(9) for y in range(9) for x in range(9)
                 if (stretched[t][y:y + 8, x:x + 8] == clip[0]).all()]
        (t, y, x), = found
        np.testing.assert_array_equal(clip[1], stretched[t + 3][y:y + 8, x:x + 8])
        starts.add(t)
        corners.add((y, x))
    assert starts == set(range(9)) and len(corners) > 30
    assert {0, 8} <= {y for y, _ in corners} and {0, 8} <= {x for _, x in corners}


@pytest.mark.parametrize('workers', [0, 2])
def test_random_views_are_the_same_whoever_makes_them(workers):
    views, transform = Views(Films(*(Film(noise(9, seed=i)) for i in range(3))), 5), mfnet()
    with data.Loader(views, transform, workers) as loader:
        order = np.array([7, 2, 14, 3])
        batch = next(iter(loader.load([order], 0)))
        for place, index in enumerate(order):
            expected = np.zeros(transform.shape, np.float32)
            transform.fill(views, index, data.sample_rng(0, 0, index), expected)
            np.testing.assert_array_equal(batch.images[place], expected)
    alone = list(transform.clips(views.source.films[0]))  # as `predict` sees the first video
    for view, clip in enumerate(alone):
        expected = np.zeros(transform.shape, np.float32)
        transform.fill(views, view, data.sample_rng(0, 0, view), expected)
        np.testing.assert_array_equal(clip[0], expected)


def test_validation_takes_the_centre_of_the_middle():
    film = Film(noise(9, 30, 50))
    clip = bytes_of(filled(eval_clip(20, 3, 2, crop_ratio=1.0), Films(film)))
    for t in range(3):
        large = cv2.resize(film.frames[2 + 2 * t], (33, 20), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(clip[t], large[:, 6:26])


@pytest.mark.parametrize('height, width', [(20, 50), (50, 20), (20, 20)])
def test_crops_are_spread_along_the_long_side(height, width):
    film = Film(noise(1, height, width))
    clips = filled(eval_clip(20, 1, 1, crop_ratio=1.0, crops=3), Films(film))
    assert clips.shape == (3, 3, 1, 20, 20)
    spare = max(height, width) - 20
    for clip, start in zip(clips, (0, spare // 2, spare)):
        window = film.frames[0][start:start
                                + 20] if height > width else film.frames[0][:, start:start + 20]
        np.testing.assert_array_equal(bytes_of(clip)[0], window)


def test_views_of_a_source_follow_one_another_and_are_those_of_prediction():
    films = Films(Film(numbered(40)), Film(numbered(31)))
    views, transform = Views(films, 3), eval_clip(8, 4, 2, 1.0, views=3)
    assert len(views) == 6 and views.labels.tolist() == [0, 0, 0, 1, 1, 1
                                                         ] and views.name(4) == 'film 1'
    loaded = np.concatenate([filled(transform, views, i)[None] for i in range(6)])
    alone = np.concatenate([clips for film in films.films
                            for clips in transform.clips(film)])
    np.testing.assert_array_equal(loaded, alone)
    starts = [bytes_of(clip)[0, 0, 0, 0] for clip in loaded]
    assert starts == [5, 17, 28, 4, 12, 20]


@pytest.mark.parametrize('workers', [0, 2])
def test_the_loader_makes_the_same_clips_whoever_does(workers):
    films = Films(*(Film(noise(9, seed=i)) for i in range(7)))
    transform = train_clip(13, 4, 2)
    with data.Loader(films, transform, workers, seed=3) as loader:
        batch = next(iter(loader.load([np.array([5, 2, 6])], 4)))
        for place, index in enumerate((5, 2, 6)):
            out = np.zeros(transform.shape, np.float32)
            transform.fill(films, index, data.sample_rng(3, 4, index), out)
            np.testing.assert_array_equal(batch.images[place], out)


@pytest.mark.parametrize('make, sentence', [
    (lambda: train_clip(0, 4, 1), '`size` must be 1 or more, not 0'),
    (lambda: train_clip(8, 0, 1), '`frames` must be 1 or more, not 0'),
    (lambda: train_clip(8, 4, -1), '`frame_stride` must be 0 or more, not -1'),
    (lambda: train_clip(8, 4, 1, max_scale=0.9), '`max_scale` must be 1 or more, not 0.9'),
    (lambda: train_clip(8, 4, 1, min_aspect=2.0), '`min_aspect` must be at most `max_aspect`'),
    (lambda: train_clip(8, 4, 1, hue=91), '`hue` must be 0 to 90, not 91'),
    (lambda: eval_clip(8, 4, 1, 1.1), '`crop_ratio` must be above 0 and at most 1, not 1.1'),
    (lambda: eval_clip(8, 4, 1, views=0), '`views` must be 1 or more'),
    (lambda: eval_clip(8, 4, 1, crops=0), '`crops` must be 1 or more'),
    (lambda: mfnet(crops=3), '`crops` must be 1 where each clip has one random window, as by '
                             '`protocol` mfnet, not 3: give more `views`'),
    (lambda: eval_clip(8, 4, 1, stretch='always'), '`stretch` must be one of both, training, nei'),
    (lambda: train_clip(8, 4, 1, train_strides=(2, -1)), '`train_strides` must be 0 or more'),
    (lambda: train_clip(8, 4, 1, draws='dpn'), "`draws` must be one of uniform, mfnet, not 'dpn'")])
def test_bad_settings_are_named(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()
