"""Any frame of any file is exactly that frame, or an error: each carries its number in the
picture."""
import contextlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

av = pytest.importorskip('av')
cv2 = pytest.importorskip('cv2')
import numbered  # noqa: E402 (needs PyAV)

from gluon_a2.data import VideoError, open_video  # noqa: E402
from gluon_a2.data import video as module  # noqa: E402
from gluon_a2.errors import UserError  # noqa: E402

COUNT = 40
KINDS = list(numbered.KINDS)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """{kind: (path, number of the first frame)}."""
    folder, pictures = tmp_path_factory.mktemp('files'), numbered.frames(COUNT)
    return {kind: numbered.make(folder, kind, pictures) for kind in KINDS}


def numbers(video, wanted):
    return [numbered.number(picture) for picture in video.read(wanted)]


@pytest.mark.parametrize('kind', KINDS)
def test_every_frame_of_every_kind_of_file_is_its_own(files, tmp_path, kind):
    path, first = files[kind]
    video = open_video(path, tmp_path)
    count = len(video)
    assert count == COUNT - first
    assert numbers(video, range(count)) == list(range(first, COUNT))
    for i in (0, count - 1, count // 2, 13):
        assert numbers(video, [i]) == [first + i]


@settings(deadline=None, max_examples=80,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KINDS), st.sets(st.integers(0, COUNT - 13), min_size=1, max_size=9))
def test_any_frames_in_one_go(files, kind, wanted):
    path, first = files[kind]
    wanted = sorted(wanted)
    assert numbers(open_video(path), wanted) == [first + i for i in wanted]


def test_frames_come_as_they_are_asked_for(files):
    """The decoder is not run to the end, and no clip is held: only what has been taken is
    decoded."""
    frames = open_video(files['mp4, H.264'][0]).read([3, 39])
    assert numbered.number(next(frames)) == 3
    frames.close()


def test_pictures_are_those_of_the_decoder(files):
    path, _ = files['mkv, H.264']
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    for ours, theirs in zip(open_video(path).read(range(COUNT)), expected):
        np.testing.assert_array_equal(ours, theirs)


# ---- cut by an edit list, as `ffmpeg -ss … -c copy` does

@pytest.mark.parametrize('codec, options', [('libx264', numbered.GOP),
                                            ('libx264', numbered.OPEN_GOP),
                                            ('mpeg4', numbered.GOP)])
@pytest.mark.parametrize('first, many', [(0, 5), (5, 35), (11, 2), (12, 20), (17, 10), (30, 10)])
def test_an_edit_list_begins_and_ends_where_it_says(tmp_path, codec, options, first, many):
    """What comes before the start is decoded, because later frames refer to it, and left out."""
    whole = numbered.write(tmp_path / 'whole.mp4', numbered.frames(COUNT), codec, options)
    video = open_video(numbered.cut_by_edit_list(whole, tmp_path / 'x.mp4', (first, many)),
                       tmp_path)
    assert numbers(video, range(len(video))) == list(range(first, first + many))
    assert [numbers(video, [i])[0] for i in range(many)] == list(range(first, first + many))


@pytest.mark.parametrize('segments', [[(20, 10), (3, 4)], [(3, 4), (20, 10)], [(0, 14), (25, 10)],
                                      [(30, 5), (2, 30)]])
def test_several_edits_show_one_segment_after_the_other(tmp_path, segments):
    """Key frames before a segment have times that frames of another segment have, too."""
    whole = numbered.write(tmp_path / 'whole.mp4', numbered.frames(COUNT), options=numbered.GOP)
    video = open_video(numbered.cut_by_edit_list(whole, tmp_path / 'x.mp4', *segments), tmp_path)
    expected = [first + i for first, many in segments for i in range(many)]
    assert numbers(video, range(len(video))) == expected
    assert [numbers(video, [i])[0] for i in range(len(expected))] == expected


# ---- how pictures are shown

@pytest.mark.parametrize('a, b, c, d, upright', [
    (1, 0, 0, 1, lambda x: x), (-1, 0, 0, -1, lambda x: np.rot90(x, 2)),
    (0, 1, -1, 0, lambda x: np.rot90(x, -1)), (0, -1, 1, 0, lambda x: np.rot90(x, 1)),
    (-1, 0, 0, 1, np.fliplr), (1, 0, 0, -1, np.flipud),
    (0, 1, 1, 0, lambda x: np.rot90(np.fliplr(x), 1)),
    (0, -1, -1, 0, lambda x: np.rot90(np.fliplr(x), -1))])
def test_pictures_have_the_orientation_they_are_to_be_shown_in(tmp_path, a, b, c, d, upright):
    """A phone held upright stores lying pictures, and one that faces its owner mirrored ones."""
    path = numbered.write(tmp_path / 'x.mp4', numbered.frames(3))
    stored = list(open_video(path, tmp_path).read(range(3)))
    shown = list(open_video(numbered.turn(path, a, b, c, d), tmp_path).read(range(3)))
    for picture, expected in zip(shown, map(upright, stored)):
        np.testing.assert_array_equal(picture, expected)


# AVColorSpace: (x264's name, the shares of red and blue in luma)
MATRICES = {1: ('bt709', .2126, .0722), 5: ('bt470bg', .299, .114), 6: ('smpte170m', .299, .114),
            7: ('smpte240m', .212, .087), 9: ('bt2020nc', .2627, .0593), 2: ('undef', .299, .114)}


def rgb(y, u, v, red, blue, full):
    """Its definition: uint8 R, G, B of 8-bit luma and chroma."""
    y, u, v = (y / 255, (u - 128) / 255, (v - 128) / 255) if full else (
        (y - 16) / 219, (u - 128) / 224, (v - 128) / 224)
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    return np.round(255 * np.clip([r, (y - red * r - blue * b) / (1 - red - blue), b], 0, 1))


@pytest.mark.parametrize('matrix', MATRICES)
@pytest.mark.parametrize('full', [False, True])
@pytest.mark.parametrize('pixels', ['yuv420p', 'yuv444p', 'yuv420p10le'])
def test_colours_follow_the_matrix_and_the_range_of_the_stream(tmp_path, matrix, full, pixels):
    name, red, blue = MATRICES[matrix]
    colours = [(90, 110, 160), (130, 100, 90), (200, 128, 128), (60, 150, 120)]
    with av.open(str(tmp_path / 'x.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=25, options={
            'x264-params': f'qp=1:colormatrix={name}:fullrange={"on" if full else "off"}'})
        stream.height, stream.width, stream.pix_fmt = 32, 48, pixels
        for colour in colours:
            frame = av.VideoFrame(48, 32, pixels)
            for plane, value in zip(frame.planes, colour):
                deep = np.full(plane.buffer_size // 2, 4 * value, '<u2')
                plane.update(deep.tobytes() if '10' in pixels else bytes([value]) *
                             plane.buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for picture, colour in zip(open_video(tmp_path / 'x.mp4', tmp_path).read(range(4)), colours):
        expected = rgb(*colour, red, blue, full)
        assert np.abs(picture - expected).max() <= 4  # swscale computes with few bits


def test_a_matrix_that_cannot_be_converted_is_refused(tmp_path):
    path = numbered.write(tmp_path / 'x.mp4', numbered.frames(1),
                          options={'x264-params': 'colormatrix=YCgCo'})
    refused(path, tmp_path, 'its colours have the matrix 8 of FFmpeg')


# ---- any file name opens

@pytest.mark.parametrize('name', ['12:30:00.mp4', 'http:x?%03d*.mp4', '-y.mp4', b'caf\xe9.mp4'])
def test_a_file_name_is_never_taken_for_anything_else(files, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copy(files['mp4, H.264'][0], name)
    assert numbers(open_video(os.fsdecode(name), tmp_path), [0, 39]) == [0, 39]


# ---- bad files

def refused(path, cache, reason):
    with pytest.raises(VideoError, match=reason):
        video = open_video(path, cache)
        list(video.read(range(len(video))))


@pytest.mark.parametrize('content, reason', [
    (b'', 'it is empty'), (b'<!DOCTYPE html><html><body>404 Not Found</body></html>' * 40, 'cannot '
                                                                                           'be '
                                                                                           'decoded'),
    (b'\x00' * 5000, 'cannot be decoded'), (bytes(range(256)) * 40, 'cannot be decoded')])
@pytest.mark.parametrize('ending', ['mp4', 'avi', 'mkv'])
def test_what_is_no_video_is_refused(tmp_path, content, reason, ending):
    (tmp_path / f'x.{ending}').write_bytes(content)
    refused(tmp_path / f'x.{ending}', tmp_path, f'{reason}|it holds no')


def test_sound_alone_is_no_video(tmp_path):
    refused(numbered.sound(tmp_path / 'x.mp4'), tmp_path, 'it holds no video stream')


@pytest.mark.parametrize('kind', ['mp4, H.264', 'mkv, H.264', 'avi, MPEG-4 B-frames', 'webm, VP9',
                                  'ts, MPEG-2'])
@pytest.mark.parametrize('kept', [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(files, tmp_path, kind, kept):
    path = files[kind][0]
    refused(numbered.damage(path, tmp_path / f'x{path.suffix}', kept), tmp_path,
            'truncated|cannot be decoded|can be decoded|damaged')


def test_a_truncated_file_whose_index_comes_first_is_refused(files, tmp_path):
    fast = numbered.cut(files['mp4, H.264'][0], tmp_path / 'fast.mp4', 0, {'movflags': 'faststart'})
    assert len(open_video(fast, tmp_path)) == COUNT
    refused(numbered.damage(fast, tmp_path / 'x.mp4', 0.7), tmp_path, 'truncated')


@pytest.mark.parametrize('kind', ['mp4, H.264', 'mkv, H.264', 'avi, MPEG-4 B-frames', 'webm, VP9',
                                  'mp4, MPEG-4 B-frames'])
def test_damage_in_the_middle_never_gives_another_frame(files, tmp_path, kind):
    """Before it frames may be read; from it on to the next key frame they are refused.

    VP9 has nothing to notice damage by: a picture may be spoilt there, but is not another one.
    """
    path = files[kind][0]
    bad = numbered.damage(path, tmp_path / f'x{path.suffix}', wrong=800)
    if kind != 'webm, VP9':
        refused(bad, tmp_path, 'damaged|cannot be decoded')
    right = 0
    for i in range(COUNT):
        with contextlib.suppress(VideoError):
            found = numbers(open_video(bad, tmp_path), [i])
            assert found == [i] or (kind == 'webm, VP9' and found == [None])
            right += 1
    assert right < COUNT or kind == 'webm, VP9'
    if path.suffix == '.mp4':
        assert right > COUNT // 3


def test_a_header_that_lies_about_the_number_of_frames_is_not_believed(files, tmp_path):
    """AVI: the frame counts in avih and strh."""
    content = bytearray(files['avi, H.264'][0].read_bytes())
    for place in (content.index(b'avih') + 8 + 16, content.index(b'strh') + 8 + 32):
        content[place:place + 4] = (9999).to_bytes(4, 'little')
    (tmp_path / 'x.avi').write_bytes(bytes(content))
    video = open_video(tmp_path / 'x.avi', tmp_path)
    assert len(video) == COUNT and numbers(video, [COUNT - 1]) == [COUNT - 1]


def test_counted_frames_are_sought_from_a_key_frame_that_proves_to_be_the_one(
        files, tmp_path, monkeypatch):
    path = files['avi, MPEG-4 B-frames'][0]
    video = open_video(path, tmp_path)
    assert [first for first, *_ in video._index.keys] == [0, 12, 24, 36]
    video._index = video._index._replace(keys=[(first, time, 0) if first == 24 else (
        first, time, check) for first, time, check in video._index.keys])
    from_the_start, counted_on = [], module._counted_on
    monkeypatch.setattr(module, '_counted_on', lambda path, numbers, counted: (
        from_the_start.append(numbers), counted_on(path, numbers, counted))[1])
    assert numbers(video, [11, 15, 39]) == [11, 15, 39] and not from_the_start
    assert numbers(video, [11, 30, 35]) == [11, 30, 35] and from_the_start == [[30, 35]]


@pytest.mark.parametrize('ending, codec', [('mp4', 'libx264'), ('avi', 'mpeg4'),
                                           ('webm', 'libvpx-vp9')])
def test_a_video_of_one_frame(tmp_path, ending, codec):
    video = open_video(numbered.write(tmp_path / f'x.{ending}', numbered.frames(1), codec),
                       tmp_path)
    assert len(video) == 1 and numbers(video, [0]) == [0]


def test_a_4k_portrait_video(tmp_path):
    path = numbered.write(tmp_path / 'x.mp4', numbered.frames(3, 3840, 2160),
                          options={'preset': 'ultrafast'})
    shapes = [picture.shape for picture in open_video(path, tmp_path).read([0, 2])]
    assert shapes == [(3840, 2160, 3)] * 2


def test_absurdly_large_pictures_are_refused(files, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MAX_PIXELS', 160 * 96 - 1)
    refused(files['mp4, H.264'][0], tmp_path, 'its frames have 160 × 96 pixels, more than')


def test_a_frame_that_is_not_there_is_refused(files):
    video = open_video(files['mp4, H.264'][0])
    for wanted in ([COUNT], [3, 99], [-1]):
        with pytest.raises(VideoError, match=f'it has {COUNT} frames, and no frame {wanted[-1]}'):
            list(video.read(wanted))
    with pytest.raises(ValueError, match='must ascend'):
        list(video.read([3, 3]))


def test_a_file_that_is_not_there(tmp_path):
    refused(tmp_path / 'x.mp4', tmp_path, 'it cannot be read: No such file')


def test_without_pyav_it_says_what_to_install(files, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'av', None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[video\]' in the checkout"):
        open_video(files['mp4, H.264'][0], tmp_path)


# ---- folders of frames

@pytest.fixture
def folder(tmp_path):
    for i, picture in enumerate(numbered.frames(6), 1):
        cv2.imwrite(str(tmp_path / f'img_{i:05d}.jpg'), picture)
    return tmp_path


def test_a_folder_of_frames_counts_from_one_or_from_nought(folder):
    assert numbers(open_video(folder), [0, 2, 5]) == [0, 2, 5]
    (folder / 'img_00006.jpg').rename(folder / 'img_00000.jpg')
    assert numbers(open_video(folder), [0, 1, 5]) == [5, 0, 4]


def test_a_gap_is_named(folder):
    (folder / 'img_00004.jpg').unlink()
    with pytest.raises(VideoError, match='img_00004.jpg is missing among its 5 frames'):
        open_video(folder)


def test_a_folder_without_frames_and_a_damaged_frame(folder, tmp_path):
    (folder / 'img_00003.jpg').write_bytes(b'')
    video = open_video(folder)
    assert numbers(video, [0, 1]) == [0, 1]
    with pytest.raises(VideoError, match='img_00003.jpg: it is empty'):
        numbers(video, [2])
    (tmp_path / 'none').mkdir()
    with pytest.raises(VideoError, match='a folder without frames'):
        open_video(tmp_path / 'none')


def test_a_folder_that_may_not_be_listed_is_one_bad_video(tmp_path, monkeypatch):
    """It ended the run: a worker answers for an `ImageError` alone."""
    def refuse(path):
        raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(os, 'listdir', refuse)
    with pytest.raises(VideoError, match='it cannot be read: Permission denied'):
        open_video(tmp_path)


# ---- the cached index

def entries(cache):
    return [os.path.join(place, name) for place, _, names in os.walk(cache) for name in names]


def test_the_index_is_made_once(files, tmp_path, monkeypatch):
    path = files['mkv, H.264 open GOP'][0]
    first = numbers(open_video(path, tmp_path), [7])
    assert len(entries(tmp_path)) == 1
    monkeypatch.setattr(module, '_index', None)  # nobody calls it again
    assert numbers(open_video(path, tmp_path), [7]) == first == [7]


def test_another_file_of_the_same_name_gets_its_own(files, tmp_path):
    path = tmp_path / 'x.mp4'
    shutil.copy(files['mp4, H.264'][0], path)
    assert len(open_video(path, tmp_path / 'cache')) == COUNT
    numbered.write(path, numbered.frames(9))
    assert len(open_video(path, tmp_path / 'cache')) == 9


def test_a_damaged_entry_is_made_again(files, tmp_path):
    path = files['mp4, H.264'][0]
    open_video(path, tmp_path)
    entry = Path(entries(tmp_path)[0])
    good = entry.read_bytes()
    for damaged in (*(good[:kept] for kept in (0, 3, 17, len(good) - 1)), b'[1]', b'\xff'):
        entry.write_bytes(damaged)
        assert len(open_video(path, tmp_path)) == COUNT
        assert entry.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_done_without(files):
    assert len(open_video(files['mp4, H.264'][0], os.devnull)) == COUNT


def test_nothing_is_kept_of_files_that_fail(tmp_path):
    (tmp_path / 'x.mp4').write_bytes(b'no video')
    with pytest.raises(VideoError):
        open_video(tmp_path / 'x.mp4', tmp_path / 'cache')
    assert entries(tmp_path / 'cache') == []
