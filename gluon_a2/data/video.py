"""Videos: any frame by its number, exactly that frame or an error.

Presentation times are what is exact about a video. One pass over the packets, without decoding,
lists them: frame i is the one shown i-th. To read it, the decoder is set to the last key frame at
or before it and runs until a frame of exactly that time comes out. Where times cannot be trusted,
frames are counted from the first on.
"""
import bisect
import contextlib
import os
import struct
import zlib
from fractions import Fraction
from typing import NamedTuple, Tuple

import cv2
import numpy as np

from ..errors import UserError, install_extra
from ..files import sha256
from .cache import cache_folder
from .images import MAX_PIXELS, ImageError, decode

# Containers whose times are made up from a frame rate, or start anew, or cannot be sought in; and a
# codec some of whose packets are never shown.
COUNTED_FORMATS = frozenset(
    ('avi', 'flv', 'mpegts', 'mpeg', 'mpegvideo', 'h264', 'hevc', 'm4v', 'ivf', 'asf', 'gif'))
COUNTED_CODECS = frozenset(('vp8',))
_MAGIC = 0x61326964783031  # 'a2idx01'
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


class VideoError(ImageError):
    """This one video, or this frame of it, cannot be read; the message is the reason."""


class Index(NamedTuple):
    """Presentation times of the frames and of the key frames, sorted, in the stream's unit; or a
    count alone."""
    counted: bool  # frames are known by their number, and `times` are the numbers
    times: Tuple[int, ...]
    keys: Tuple[int, ...]


def open_video(path, cache=None):
    """The video at `path`, a file or a folder of frames img_00001.jpg, img_00002.jpg, …;
    `VideoError`.

    It has a length, the frames that can be shown, and `read(numbers)`: iterate over uint8 H×W×3 RGB
    frames of ascending numbers, each as soon as it is decoded. What is found out about a file is
    kept in the folder `cache` (`video-index` in `cache.cache_folder()` where not given).
    """
    return FrameFolder(path) if os.path.isdir(path) else VideoFile(path, cache)


class FrameFolder:
    """Frames as images, numbered from 0 or 1 without a gap."""

    def __init__(self, path):
        self.path = os.fspath(path)
        names = sorted(name for name in os.listdir(self.path)
                       if name.startswith('img_') and name.endswith('.jpg'))
        if not names:
            raise VideoError('it is a folder without frames (img_00001.jpg, …)')
        first = int(names[0] != 'img_00000.jpg')
        expected = [f'img_{first + i:05d}.jpg' for i in range(len(names))]
        missing = [name for name in expected if name not in set(names)]
        if missing:
            raise VideoError(f'{missing[0]} is missing among its {len(names)} frames')
        self._names = expected

    def __len__(self):
        return len(self._names)

    def read(self, numbers):
        """See `open_video`."""
        for number in _checked(numbers, len(self)):
            try:
                with open(os.path.join(self.path, self._names[number]), 'rb') as file:
                    yield decode(file.read())
            except (OSError, ImageError) as error:
                raise VideoError(f'{self._names[number]}: {error}') from error


class VideoFile:
    """A video file, read with PyAV."""

    def __init__(self, path, cache=None):
        self.path = os.fspath(path)
        self._index = _cached_index(self.path, cache or os.path.join(cache_folder(), 'video-index'))

    def __len__(self):
        return len(self._index.times)

    def timing(self):
        """(presentation time of each frame, their unit in seconds, frames a second): ints and
        fractions."""
        with _reading(self.path), _opened(self.path) as (_, stream):
            rate = Fraction(stream.average_rate or stream.guessed_rate
                            or 25).limit_denominator(60000)
            return self._index.times, 1 / rate if self._index.counted else stream.time_base, rate

    def read(self, numbers):
        """See `open_video`."""
        times = [self._index.times[number] for number in _checked(numbers, len(self))]
        with _reading(self.path):
            found = 0
            if not self._index.counted:
                # an open group of pictures may only seem damaged
                with contextlib.suppress(VideoError):
                    for frame in _sought(self.path, times, self._index.keys):
                        found += 1
                        yield frame
            if found < len(times):  # a frame did not come out after a seek: it may from the start
                yield from _counted_on(self.path, times[found:], self._index.counted)


def _checked(numbers, length):
    numbers = list(numbers)
    if any(b <= a for a, b in zip(numbers, numbers[1:])):
        raise ValueError(f'frame numbers must ascend, not {numbers}')
    if numbers and not 0 <= numbers[0] <= numbers[-1] < length:
        raise VideoError(f'it has {length} frames, and no frame '
                         f'{numbers[-1] if numbers[-1] >= length else numbers[0]}')
    return numbers


def _sought(path, times, keys):
    """Frames at `times`, from the key frames before them; ends early where one does not come
    out."""
    with _opened(path) as (container, stream):
        frames, now, convert = None, None, _import_av().video.reformatter.VideoReformatter()
        for time in times:
            key = keys[bisect.bisect_right(keys, time) - 1]
            if now is None or key > now:  # otherwise it is nearer to go on
                container.seek(key, stream=stream)
                frames = _frames(container, stream, key)
            frame = next((frame
                          for frame in frames if frame.pts is not None and frame.pts >= time), None)
            if frame is None or frame.pts != time:
                return
            now = time
            yield _pixels(frame, stream, convert)


def _frames(container, stream, key=None):
    """Decoded frames from the key frame at time `key` on, the next one where not given.

    What is shown before it but comes after it in the file, as in an open group of pictures, refers
    to frames that the decoder has not seen: it is left out.
    """
    begun = False
    for packet in container.demux(stream):
        if not begun and packet.is_keyframe and (key is None or packet.pts == key):
            begun, key = True, packet.pts
        if begun and (key is None or packet.pts is None or packet.pts >= key):
            with _complaints(stream.codec_context.name) as said:
                frames = packet.decode()
            if said:
                raise VideoError(f'it is damaged ({said[0]})')
            yield from frames


def _counted_on(path, times, counted):
    """Frames at `times`, decoding from the first on; by their number where `counted`."""
    with _opened(path) as (container, stream):
        wanted, convert = iter(times), _import_av().video.reformatter.VideoReformatter()
        time = next(wanted)
        for number, frame in enumerate(_frames(container, stream)):
            if (number if counted else frame.pts) == time:
                yield _pixels(frame, stream, convert)
                time = next(wanted, None)
                if time is None:
                    return
    raise VideoError(f'its frame at time {time} cannot be decoded')


def _pixels(frame, stream, convert):
    """uint8 H×W×3 of a decoded frame, turned as the file says it is to be shown.

    `convert` is one PyAV reformatter for a whole file: a frame by itself would set up a new one.
    """
    if frame.is_corrupt:
        raise VideoError(f'its frame at time {frame.pts} is damaged')
    pixels = convert.reformat(frame, format='rgb24').to_ndarray()
    turn = _TURNS.get(round(_rotation(frame, stream)) % 360)
    return pixels if turn is None else cv2.rotate(pixels, turn)


def _rotation(frame, stream):
    """Degrees counter-clockwise; older PyAV knows it of the stream."""
    rotation = getattr(frame, 'rotation', None)
    return rotation if rotation is not None else getattr(stream, 'side_data', {}).get(
        'DISPLAYMATRIX', 0)


@contextlib.contextmanager
def _reading(path):
    """What goes wrong with the file `path` in here is a `VideoError`."""
    av = _import_av()
    try:
        yield
    except VideoError:
        raise
    except (av.error.FFmpegError, OSError, IndexError, ValueError, EOFError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise VideoError(f'it cannot be decoded ({reason})') from error


def _import_av():
    try:
        import av
    except ImportError as error:
        raise UserError(f'videos need PyAV: {install_extra("video")}') from error
    return av


@contextlib.contextmanager
def _opened(path):
    """(container, its first video stream)."""
    av = _import_av()
    with av.open(path) as container:
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            raise VideoError('it holds no video stream')
        context = streams[0].codec_context
        if context is None:
            raise VideoError('its codec is not known')
        if (context.width or 0) * (context.height or 0) > MAX_PIXELS:
            raise VideoError(f'its frames have {context.width} × {context.height} pixels, more '
                             f'than {MAX_PIXELS}')
        context.thread_count = 1  # the loader's processes share the cores
        yield container, streams[0]


@contextlib.contextmanager
def _complaints(who):
    """A list that on leaving holds what FFmpeg's part `who` found wrong in here, one line each.

    Demuxers go on after damage and raise nothing; decoders conceal it, that is, invent pixels.
    """
    logging, said = _import_av().logging, []
    level, skips = logging.get_level(), logging.get_skip_repeated()
    logging.set_level(logging.INFO)
    logging.set_skip_repeated(False)
    try:
        with logging.Capture() as lines:
            yield said
    finally:
        logging.set_level(level)
        logging.set_skip_repeated(skips)
    said.extend(text.strip() for severity, name, text in lines
                if name == who and (severity <= logging.ERROR or text.startswith('concealing')))


def _is_cover(stream):
    """Whether a stream is the picture on a piece of music."""
    return bool(int(getattr(stream, 'disposition', 0)) & 0x400)  # AV_DISPOSITION_ATTACHED_PIC


# ---- the index

def _index(path):
    """The `Index` of a file; `VideoError` for one that cannot be read to its end."""
    with _opened(path) as (container, stream):
        times, first = [], None
        with _complaints(container.format.name) as complaints:
            for packet in container.demux(stream):
                if packet.size == 0 or packet.is_discard:  # the end, or cut away by an edit list
                    continue
                if packet.is_corrupt:
                    raise VideoError(f'it is truncated, or damaged, after {len(times)} frames')
                times.append((packet.pts, packet.is_keyframe))
                first = packet.pts if first is None and packet.is_keyframe else first
        if complaints:
            raise VideoError(f'it is truncated, or damaged ({complaints[0]})')
        counted = bool(COUNTED_FORMATS & set(container.format.name.split(','))) or (
            stream.codec_context.name in COUNTED_CODECS)
    known = [time for time, _ in times]
    if counted or None in known or len(set(known)) < len(known) or first is None:
        return Index(True, tuple(range(_count(path))), ())
    # What is shown before the first key frame refers to frames that are not there.
    return Index(False, tuple(sorted(time for time in known if time >= first)),
                 tuple(sorted(time for time, is_key in times if is_key and time >= first)))


def _count(path):
    """How many frames come out of the decoder."""
    with _opened(path) as (container, stream):
        return sum(1 for _ in _frames(container, stream))


def _cached_index(path, cache):
    """The `Index` of a file, from the cache where the file is the one it was made of."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise VideoError(f'it cannot be read: {error.strerror}') from error
    if status.st_size == 0:
        raise VideoError('it is empty')
    name = sha256(f'{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}'.encode(
        'utf-8', 'surrogateescape'))
    kept = os.path.join(cache, name[:2], name + '.idx')
    index = _load(kept)
    if index is None:
        with _reading(path):
            index = _index(path)
        if not index.times:
            raise VideoError('it holds no frame that can be decoded')
        _save(index, kept)
    return index


def _load(kept):
    """An `Index` from its file, or None where there is none, or a damaged one."""
    try:
        with open(kept, 'rb') as file:
            content = file.read()
        (check,) = struct.unpack('<I', content[-4:])
        values = np.frombuffer(content[:-4], '<i8').tolist()
    except (OSError, struct.error, ValueError):
        return None
    if zlib.crc32(content[:-4]) != check or len(values) < 3 or values[0] != _MAGIC:
        return None
    return Index(bool(values[1]), tuple(values[3:3 + values[2]]), tuple(values[3 + values[2]:]))


def _save(index, kept):
    """Keep an `Index`; a cache that cannot be written, as on a read-only disk, is done without."""
    content = np.array(
        [_MAGIC, index.counted, len(index.times), *index.times, *index.keys], '<i8').tobytes()
    draft = f'{kept}.{os.getpid()}'
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        with open(draft, 'wb') as file:
            file.write(content + struct.pack('<I', zlib.crc32(content)))
        os.replace(draft, kept)
