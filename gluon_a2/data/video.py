"""Videos: any frame by its number, exactly that frame or an error.

Presentation times are what is exact about a video. One pass over the packets lists them without
decoding, and frame i is the one shown i-th. To read it, the decoder starts at the last key frame
at or before its time and runs until a frame of exactly that time comes out. Where times cannot be
trusted, frames are counted from the first on.
"""
from __future__ import annotations

import bisect
import contextlib
import json
import os
import re
import struct
import zlib
from fractions import Fraction
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import numpy as np

from ..errors import UserError, install_extra
from ..files import sha256
from .cache import cache_folder
from .images import MAX_PIXELS, ImageError, decode

# Containers whose times are made up from a frame rate, start anew, or cannot be sought in; and a
# codec some of whose packets are never shown.
COUNTED_FORMATS = {'avi', 'flv', 'mpegts', 'mpeg', 'mpegvideo', 'h264', 'hevc', 'm4v', 'ivf', 'asf',
                   'gif'}
COUNTED_CODECS = {'vp8'}
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC, the cover of a piece of music
_MISSED = 'mmco: unref short failure'  # of H.264: a frame to be forgotten is not there


class VideoError(ImageError):
    """This one video, or this frame of it, cannot be read; the message is the reason."""


class Index(NamedTuple):
    """Sorted presentation times in the stream's unit, or a count alone."""
    counted: bool  # frames are known by their number, and `times` are the numbers
    times: Sequence[int]
    keys: Sequence[Any]  # times of the key frames; if `counted`, (number, time to seek, CRC)


def open_video(path: str | os.PathLike, cache: str | os.PathLike | None = None
               ) -> FrameFolder | VideoFile:
    """The video at `path`, a file or a folder of frames img_00001.jpg, img_00002.jpg, …

    Its length is the number of frames that can be shown. `read(numbers)` iterates over uint8 H×W×3
    RGB frames of ascending numbers, each as soon as it is decoded. The index of a file is kept in
    the folder `cache`, by default `video-index` in `cache.cache_folder()`. Raises `VideoError`.
    """
    return FrameFolder(path) if os.path.isdir(path) else VideoFile(path, cache)


class FrameFolder:
    """Frames as images, numbered from 0 or 1 without a gap."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        try:
            names = sorted(name for name in os.listdir(self.path)
                           if name.startswith('img_') and name.endswith('.jpg'))
        except OSError as error:
            raise VideoError(f'it cannot be read: {error.strerror}') from error
        if not names:
            raise VideoError('it is a folder without frames (img_00001.jpg, …)')
        first = int(names[0] != 'img_00000.jpg')
        self._names = [f'img_{first + i:05d}.jpg' for i in range(len(names))]
        missing = sorted(set(self._names) - set(names))
        if missing:
            raise VideoError(f'{missing[0]} is missing among its {len(names)} frames')

    def __len__(self) -> int:
        return len(self._names)

    def read(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for number in _checked(numbers, len(self)):
            try:
                with open(os.path.join(self.path, self._names[number]), 'rb') as file:
                    yield decode(file.read())
            except (OSError, ImageError) as error:
                raise VideoError(f'{self._names[number]}: {error}') from error


class VideoFile:
    """A video file, read with PyAV."""

    def __init__(self, path: str | os.PathLike, cache: str | os.PathLike | None = None) -> None:
        self.path = os.fspath(path)
        self._index = _cached_index(self.path, cache or os.path.join(cache_folder(), 'video-index'))

    def __len__(self) -> int:
        return len(self._index.times)

    def timing(self) -> tuple[Sequence[int], Fraction, Fraction]:
        """(presentation time of each frame, their unit in seconds, frames a second)."""
        with _opened(self.path) as (_, stream):
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            rate, unit = (Fraction(value.numerator, value.denominator)  # PyAV 19 has its own
                          for value in (rate, stream.time_base))
            rate = rate.limit_denominator(60000)
            return self._index.times, 1 / rate if self._index.counted else unit, rate

    def read(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        times = [self._index.times[number] for number in _checked(numbers, len(self))]
        found, seek = 0, _counted_from_keys if self._index.counted else _sought
        if self._index.keys:
            with contextlib.suppress(VideoError):  # an open group of pictures may only seem damaged
                for frame in seek(self.path, times, self._index.keys):
                    found += 1
                    yield frame
        if found < len(times):  # a frame did not come out after a seek: it may from the start
            yield from _counted_on(self.path, times[found:], self._index.counted)


def _checked(numbers: Sequence[int], length: int) -> list[int]:
    numbers = list(numbers)
    if any(b <= a for a, b in zip(numbers, numbers[1:])):
        raise ValueError(f'frame numbers must ascend, not {numbers}')
    if numbers and not 0 <= numbers[0] <= numbers[-1] < length:
        raise VideoError(f'it has {length} frames, and no frame '
                         f'{numbers[-1] if numbers[-1] >= length else numbers[0]}')
    return numbers


def _sought(path: str, times: list[int], keys: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames at `times`, each from the key frame before it; ends early where one is missing."""
    with _opened(path) as (container, stream):
        frames: Iterator[Any] = iter(())
        now, pixels = None, _converter()
        for time in times:
            key = keys[bisect.bisect_right(keys, time) - 1]
            if now is None or key > now:  # otherwise it is nearer to go on
                container.seek(key, stream=stream)
                frames = _frames(container, stream, key)
            frame = next((frame for frame in frames
                          if frame.pts is not None and frame.pts >= time), None)
            if frame is None or frame.pts != time:
                return
            now = time
            yield pixels(frame)


def _counted_from_keys(path: str, numbers: list[int], keys: Sequence[Any]) -> Iterator[np.ndarray]:
    """Frames of these numbers, counted from the key frame before each; ends early where that does
    not have the pixels which it had when the frames were counted."""
    with _opened(path) as (container, stream):
        frames: Iterator[Any] = iter(())
        now, pixels = -1, _converter()
        firsts = [first for first, *_ in keys]
        for number in numbers:
            first, time, check = keys[bisect.bisect_right(firsts, number) - 1]
            if first > now:  # otherwise it is nearer to go on
                container.seek(time, stream=stream)
                frames, now = _frames(container, stream), first
                frame = next(frames, None)
                if frame is None or zlib.crc32(np.ascontiguousarray(pixels(frame)).data) != check:
                    return
            while now < number:
                frame = next(frames, None)
                if frame is None:
                    return
                now += 1
            yield pixels(frame)


def _frames(container: Any, stream: Any, key: int | None = None) -> Iterator[Any]:
    """Decoded frames from the key frame at time `key` on, by default from the next one.

    Packets that follow it and are shown before it, as in an open group of pictures, refer to frames
    that the decoder has not seen. They are left out here, or by a demuxer that follows an edit
    list, and until the next key frame the decoder may miss them without harm.
    """
    begun = leading = harmless = False
    for packet in container.demux(stream):
        if packet.is_keyframe:
            leading = harmless = False
            if not begun and (key is None or packet.pts == key):
                begun, leading, key, harmless = True, True, packet.pts, packet.is_discard
        if leading and None not in (key, packet.pts) and packet.pts < key:
            harmless = True
        elif begun:
            with _complaints(stream.codec_context.name) as said:
                frames = packet.decode()
            said = [line for line in said if not (harmless and line.startswith(_MISSED))]
            if said:
                raise VideoError(f'it is damaged ({said[0]})')
            yield from frames


def _counted_on(path: str, times: list[int], counted: bool) -> Iterator[np.ndarray]:
    """Frames at `times`, decoding from the first on; by their number where `counted`."""
    with _opened(path) as (container, stream):
        found, pixels = 0, _converter()
        for number, frame in enumerate(_frames(container, stream)):
            if (number if counted else frame.pts) == times[found]:
                yield pixels(frame)
                found += 1
                if found == len(times):
                    return
    raise VideoError(f'its frame at time {times[found]} cannot be decoded')


def _converter() -> Callable[[Any], np.ndarray]:
    """A function from decoded frames of one file to uint8 H×W×3 RGB, upright as they are shown.

    Colours are those of ffmpeg, by the matrix and the range that the stream states. They are the
    same in PyAV 12.3 to 19, apart from the chroma of interlaced pictures. One reformatter serves
    the whole file, because a frame by itself would set up a new one.
    """
    av = import_av()
    reformat, reduce = (av.video.reformatter.VideoReformatter().reformat for _ in range(2))
    # From 17 on PyAV starts a thread for every core; the loader's processes share the cores.
    more = {'threads': 1} if int(av.__version__.split('.')[0]) >= 17 else {}

    def pixels(frame):
        if frame.is_corrupt:
            raise VideoError(f'its frame at time {frame.pts} is damaged')
        matrix = int(frame.colorspace)  # AVColorSpace; 3 is reserved, and usual for BT.601
        if matrix == 8 or matrix > 10:
            raise VideoError(f'its colours have the matrix {matrix} of FFmpeg, which cannot be '
                             'converted')
        # Pixels of more than 8 bits first lose these: then all releases place chroma alike.
        shallow = re.sub(r'(?<=[py])(9|1[0246])[lb]e$', '', frame.format.name)
        source = frame if shallow == frame.format.name else reduce(frame, format=shallow, **more)
        # Before 17 PyAV looks at the source's matrix and range only where the destination's differ.
        rgb = reformat(source, format='rgb24', interpolation='BICUBIC',
                       src_colorspace='DEFAULT' if matrix == 3 else None, dst_colorspace='FCC',
                       src_color_range='JPEG' if int(frame.color_range) == 2 else 'MPEG',
                       dst_color_range='JPEG', **more)
        return _upright(rgb.to_ndarray(), frame)
    return pixels


def _upright(pixels: np.ndarray, frame: Any) -> np.ndarray:
    """Pixels in the orientation, one of eight, that the frame's display matrix asks for.

    The matrix holds a, b, u, c, d, v, x, y, w: (x, y) is shown at (a·x + c·y, b·x + d·y).
    """
    data = frame.side_data.get('DISPLAYMATRIX')
    if data is None:
        return pixels
    a, b, _, c, d = struct.unpack_from('=5i', bytes(data))
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[::-1 if d < 0 else 1, ::-1 if a < 0 else 1])


def import_av() -> Any:
    """The package PyAV; `UserError` where it is missing."""
    try:
        import av
    except ImportError as error:
        raise UserError(f'videos need PyAV: {install_extra("video")}') from error
    return av


def open_file(path: str | os.PathLike, mode: str = 'r') -> Any:
    """A PyAV container of the file `path`, which may have a colon: it is never taken for a URL."""
    return import_av().open('file:' + os.fspath(path), mode)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    """(container, its first video stream); what goes wrong in here is a `VideoError`."""
    errors = (import_av().error.FFmpegError, OSError, IndexError, ValueError, EOFError)
    try:
        with open_file(path) as container:
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
    except errors as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise VideoError(f'it cannot be decoded ({reason})') from error


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the picture on a piece of music; PyAV before 14 does not say."""
    disposition = getattr(stream, 'disposition', None) or 0
    return bool(getattr(disposition, 'value', disposition) & _ATTACHED_PICTURE)


@contextlib.contextmanager
def _complaints(who: str) -> Iterator[list[str]]:
    """A list that on leaving holds what FFmpeg's part `who` found wrong in here, one line each.

    Demuxers go on after damage and raise nothing; decoders conceal it, that is, invent pixels.
    """
    said: list[str] = []
    logging = import_av().logging
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


# ---- the index

def _index(path: str) -> Index:
    """The `Index` of a file; `VideoError` for one that cannot be read to its end."""
    with _opened(path) as (container, stream):
        shown: list[int] = []
        keys: list[int] = []
        seeks: list[int] = []
        first = None
        with _complaints(container.format.name) as complaints:
            for packet in container.demux(stream):
                if packet.size == 0:  # the end
                    continue
                if packet.is_corrupt:
                    raise VideoError(f'it is truncated, or damaged, after {len(shown)} frames')
                if packet.is_keyframe:
                    keys.append(packet.pts)
                    seeks.append(packet.dts)
                    first = packet.pts if first is None else first
                if not packet.is_discard:  # cut away by an edit list, but others may refer to it
                    shown.append(packet.pts)
        if complaints:
            raise VideoError(f'it is truncated, or damaged ({complaints[0]})')
        counted = bool(COUNTED_FORMATS & set(container.format.name.split(','))) or (
            stream.codec_context.name in COUNTED_CODECS)
    if counted or first is None or None in shown + keys or len(set(shown)) < len(shown):
        return _count(path, seeks)
    # What is shown before the first key frame refers to frames that are not there.
    return Index(False, *(tuple(sorted(time for time in times if time >= first))
                          for times in (shown, keys)))


def _count(path: str, seeks: list[int]) -> Index:
    """The `Index` of a file whose frames are counted; `seeks` are the times of its key packets."""
    with _opened(path) as (container, stream):
        pixels, number, checks = _converter(), -1, []
        for number, frame in enumerate(_frames(container, stream)):
            if int(frame.pict_type) == 1:  # AV_PICTURE_TYPE_I
                checks.append((number, zlib.crc32(np.ascontiguousarray(pixels(frame)).data)))
        sought = container.format.name == 'avi' and len(checks) == len(seeks)
    return Index(True, tuple(range(number + 1)), tuple(
        (number, time, check) for (number, check), time in zip(checks, seeks)) if sought else ())


def _cached_index(path: str, cache: str | os.PathLike) -> Index:
    """The `Index` of a file, from the cache where the file is the one it was made of."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise VideoError(f'it cannot be read: {error.strerror}') from error
    if status.st_size == 0:
        raise VideoError('it is empty')
    name = sha256(f'{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}'.encode(
        'utf-8', 'surrogateescape'))
    kept = os.path.join(cache, name[:2], name + '.json')
    with contextlib.suppress(OSError, ValueError, TypeError), open(kept, 'rb') as file:
        return Index(*json.load(file))
    index = _index(path)
    if not index.times:
        raise VideoError('it holds no frame that can be decoded')
    draft = f'{kept}.{os.getpid()}'
    with contextlib.suppress(OSError):  # a cache on a read-only disk is done without
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        with open(draft, 'w') as file:  # not synced: a cut one is made again
            json.dump(index, file)
        os.replace(draft, kept)
    return index
