"""Changes of a file's bytes: (content, random) → content."""
import re
import struct

INTEGERS = (0, 1, -1, 2, 127, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63,
            2**64 - 1)


def _place(content, rng):
    """A random slice of at most 64 bytes."""
    start = rng.randrange(len(content))
    return slice(start, start + rng.randint(1, 64))


def _noise(length, rng):
    return bytes(rng.randrange(256) for _ in range(length))


def flip_bits(content, rng):
    """One to eight bits, anywhere."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content, rng):
    """The end is missing."""
    return content[:rng.randrange(len(content))]


def insert(content, rng):
    """Up to 64 random bytes more."""
    at = rng.randrange(len(content))
    return content[:at] + _noise(rng.randint(1, 64), rng) + content[at:]


def delete(content, rng):
    """Up to 64 bytes less."""
    place = _place(content, rng)
    return content[:place.start] + content[place.stop:]


def overwrite(content, rng):
    """Up to 64 bytes are others."""
    place = _place(content, rng)
    return content[:place.start] + _noise(place.stop - place.start, rng) + content[place.stop:]


def splice(content, rng):
    """A piece of the file once more, elsewhere."""
    place, at = _place(content, rng), rng.randrange(len(content))
    return content[:at] + content[place] * rng.choice((1, 1, 1, 1000)) + content[at:]


def swap(content, rng):
    """Two pieces change places."""
    changed, size = bytearray(content), rng.choice((1, 2, 4, 8))
    here, there = rng.randrange(len(content) - size), rng.randrange(len(content) - size)
    changed[here:here + size] = content[there:there + size]
    changed[there:there + size] = content[here:here + size]
    return bytes(changed)


def set_integer(content, rng, at=None):
    """Bytes anywhere, or at `at`, become an extreme integer of 4 or 8 bytes."""
    at = rng.randrange(len(content)) if at is None else at
    value = struct.pack('<Q', rng.choice(INTEGERS) % 2 ** 64)[:rng.choice((4, 8))]
    return content[:at] + value + content[at + len(value):]


def set_header(content, rng):
    """A field of the file's or an array's header becomes an extreme integer."""
    magic = struct.pack('<I', 0xF993FAC9)
    starts = [0, 8, 16, *(match.start() + offset for match in re.finditer(re.escape(magic), content)
                          for offset in range(0, 40, 4))]
    return set_integer(content, rng, rng.choice(starts))


def set_length(content, rng):
    """The length of a name, or the number of names, becomes an extreme integer."""
    ends = [match.start() - 8 for match in re.finditer(b'a(rg|ux):', content)]
    return set_integer(content, rng, rng.choice([*ends, min(ends) - 8]))


ANYWHERE = (flip_bits, truncate, insert, delete, overwrite, splice, swap, set_integer)
PARAMS = (*ANYWHERE, set_header, set_length)
