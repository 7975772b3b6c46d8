"""Real video files in which every frame carries its number: ten blocks, black or white, along its
upper edge.

PyAV is imported where a file is written: who only reads the numbers does without.
"""
import fractions
import shutil
import struct

import numpy as np

BITS = 10


def frames(count, height=96, width=160, seed=0):
    """uint8 count×height×width×3: a texture that moves, under the number of each frame."""
    texture = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3),
                                                   np.uint8)
    texture = texture.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    pictures = np.stack([np.roll(texture, 3 * i, axis=1) for i in range(count)])
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for i in range(count):
        for bit in range(BITS):
            pictures[i, :height // 4, edges[bit]:edges[bit + 1]] = 255 * (i >> bit & 1)
    return pictures


def number(picture):
    """The number a decoded frame carries, uint8 H×W×3; None where a block is neither black nor
    white."""
    height, width = picture.shape[:2]
    edges = np.linspace(0, width, BITS + 1).astype(int)
    means = [
        picture[height // 16:height // 4 - height // 16, a + (b - a) // 4:b - (b - a) // 4].mean()
        for a, b in zip(edges, edges[1:])
    ]
    if any(64 < mean < 192 for mean in means):
        return None
    return sum((mean > 127) << bit for bit, mean in enumerate(means))


def write(path, pictures, codec='libx264', options=None, times=None, rate=25):
    """Write a video file; `times` are presentation times in thousandths of a second, for a variable
    rate."""
    import av
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = 'yuv420p'
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = fractions.Fraction(1, 1000)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            if times is not None:
                frame.pts, frame.time_base = times[i], fractions.Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path, a, b, c, d):
    """Make an MP4 say that what is at (x, y) is to be shown at (a·x + c·y, b·x + d·y)."""
    content = bytearray(path.read_bytes())
    one = 1 << 16
    struct.pack_into('>5i', content, content.index(b'tkhd') + 44, a * one, b * one, 0, c * one,
                     d * one)
    path.write_bytes(bytes(content))
    return path


def cut_by_edit_list(source, target, *segments):
    """Copy an MP4 of constant rate and make its edit list show these (first picture, how many), one
    after the other."""
    content = bytearray(source.read_bytes())
    place = content.index(b'elst') + 8  # of the number of entries; one of 12 bytes follows
    _, duration, start, _ = struct.unpack_from('>IIii', content, place)
    step = content.index(b'stts') + 8
    _, pictures, ticks = struct.unpack_from('>III', content, step)
    entries = [struct.pack('>Iii', duration * many // pictures, start + ticks * first, 1 << 16)
               for first, many in segments]
    content[place:place + 16] = struct.pack('>I', len(entries)) + b''.join(entries)
    assert content.index(b'mdat') < content.index(b'moov')  # whose length does not matter then
    for box in (b'moov', b'trak', b'edts', b'elst'):
        begin = content.index(box) - 4
        size, = struct.unpack_from('>I', content, begin)
        struct.pack_into('>I', content, begin, size + 12 * (len(entries) - 1))
    target.write_bytes(bytes(content))
    return target


def cut(source, target, first, options=None):
    """Copy the packets of a video from number `first` on, wherever that is in a group of
    pictures."""
    import av
    with av.open(str(source)) as container, av.open(str(target), 'w', options=options or {}) as out:
        stream = container.streams.video[0]
        copy = (out.add_stream_from_template(stream) if hasattr(out, 'add_stream_from_template')
                else out.add_stream(template=stream))  # before PyAV 14
        packets = [packet for packet in container.demux(stream) if packet.dts is not None]
        for packet in packets[first:]:
            packet.stream = copy
            out.mux(packet)
    return target


def damage(source, target, kept=1.0, wrong=0):
    """Copy a file's first part, `kept` of it, with `wrong` random bytes in its middle."""
    shutil.copy(source, target)
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle:middle + wrong] = np.random.default_rng(0).integers(0, 256, wrong,
                                                                       np.uint8).tobytes()
    target.write_bytes(bytes(content[:int(kept * len(content))]))
    return target


def sound(path):
    """Write a file that holds sound alone."""
    import av
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=44100)
        for k in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp',
                                               layout='mono')
            frame.sample_rate, frame.pts = 44100, 1024 * k
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


OPEN_GOP = {'x264-params': 'open-gop=1:keyint=12:bframes=3:scenecut=0'}
GOP = {'g': '12', 'bf': '2'}
HIDDEN = {'g': '12', 'auto-alt-ref': '1', 'lag-in-frames': '10'}
H265 = {'x265-params': 'keyint=12:bframes=3:log-level=none'}
# Every kind of file that frames are read from exactly: name: (ending, codec, options, special)
KINDS = {
    **{f'{ending}, {name}': (ending, codec, options, None)
       for ending in ('mp4', 'mkv', 'avi')
       for name, codec, options in (('H.264', 'libx264', GOP),
                                    ('H.264 open GOP', 'libx264', OPEN_GOP),
                                    ('MPEG-4 B-frames', 'mpeg4', GOP))},
    'webm, VP9': ('webm', 'libvpx-vp9', {'g': '12'}, None),
    'webm, VP8 hidden frames': ('webm', 'libvpx', HIDDEN, None),
    'mp4, H.265': ('mp4', 'libx265', H265, None),
    'ts, MPEG-2': ('ts', 'mpeg2video', GOP, None),
    'flv, H.264': ('flv', 'libx264', GOP, None),
    'mp4, H.264, variable rate': ('mp4', 'libx264', GOP, 'variable'),
    'mkv, MPEG-4 B-frames, variable rate': ('mkv', 'mpeg4', GOP, 'variable'),
    'mp4, H.264, cut': ('mp4', 'libx264', GOP, 'cut'),
    'mkv, H.264 open GOP, cut': ('mkv', 'libx264', OPEN_GOP, 'cut'),
    'ts, H.264, cut': ('ts', 'libx264', GOP, 'cut'),
    'mkv, MPEG-4 B-frames, cut': ('mkv', 'mpeg4', GOP, 'cut'),
    'mp4, H.264, edit list': ('mp4', 'libx264', GOP, 'edit list'),
    'mp4, H.264 open GOP, edit list': ('mp4', 'libx264', OPEN_GOP, 'edit list'),
    'mp4, H.264, rotated': ('mp4', 'libx264', GOP, 'rotated'),
}


def make(folder, kind, pictures):
    """Write a file of one of KINDS; (its path, the number of the first picture that can be
    shown)."""
    ending, codec, options, special = KINDS[kind]
    path = folder / f'{"".join(c if c.isalnum() else "_" for c in kind)}.{ending}'
    times = None
    if special == 'variable':
        times = np.cumsum(np.random.default_rng(1).integers(15, 120, len(pictures))).tolist()
    if special == 'rotated':
        # to be turned back, clockwise
        pictures = np.ascontiguousarray(np.rot90(pictures, k=1, axes=(1, 2)))
        return turn(write(path, pictures, codec, options), 0, 1, -1, 0), 0
    if special not in ('cut', 'edit list'):
        return write(path, pictures, codec, options, times), 0
    whole = write(path.with_name('whole-' + path.name), pictures, codec, options)
    if special == 'cut':
        cut(whole, path, 5)
    else:
        cut_by_edit_list(whole, path, (5, len(pictures) - 5))
    whole.unlink()
    return path, 12 if special == 'cut' else 5  # the next key frame, or exactly where it says
