import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gluon_a2.backend import mx
from gluon_a2.formats.params import BFLOAT16, MOST_ARRAYS, ParamsError, from_bytes, to_bytes

DTYPES = ['float16', 'float32', 'float64', 'uint8', 'int8', 'int32', 'int64']


def arrays(dtype):
    rng = np.random.default_rng(2)
    return {'arg:a_weight': (100 * rng.random((2, 3, 5, 7))).astype(dtype),
            'aux:β': np.arange(11).astype(dtype)}


@pytest.mark.parametrize('dtype', DTYPES)
def test_written_byte_for_byte_as_mxnet_writes_it(tmp_path, dtype):
    values = arrays(dtype)
    mx.nd.save(str(tmp_path / 'mxnet'),
               {name: mx.nd.array(value, dtype=dtype) for name, value in values.items()})
    assert to_bytes(values) == (tmp_path / 'mxnet').read_bytes()


def test_bfloat16_is_read_and_written_as_mxnet_does(tmp_path):
    """1.0 and −2.5 are 0x3F80 and 0xC020, the upper halves of their float32."""
    values = {name: mx.nd.array(value).astype(BFLOAT16)
              for name, value in arrays('float32').items()}
    values['hand'] = mx.nd.array([1, -2.5]).astype(BFLOAT16)
    mx.nd.save(str(tmp_path / 'mxnet'), values)
    content = (tmp_path / 'mxnet').read_bytes()
    assert to_bytes({name: value.asnumpy() for name, value in values.items()}) == content
    read = from_bytes(content, 'x')
    assert read['hand']['bfloat16'].tolist() == [0x3F80, 0xC020]
    assert mx.nd.array(read['hand'], dtype=BFLOAT16).astype('float32').asnumpy().tolist() == [
        1, -2.5]
    assert all(read[name].tobytes() == value.asnumpy().tobytes() for name, value in values.items())


@pytest.mark.parametrize('dtype', DTYPES)
def test_read_as_written(dtype):
    values = arrays(dtype)
    read = from_bytes(to_bytes(values), 'x')
    assert list(read) == list(values)
    for name, value in values.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


def test_what_is_read_takes_no_memory_of_its_own():
    content = to_bytes({'i': np.zeros(3, np.int8), 'w': np.arange(5.0)})
    read = from_bytes(content, 'x')
    assert not any(array.flags.owndata or array.flags.writeable for array in read.values())
    assert not read['w'].flags.aligned  # and MXNet takes it all the same
    assert mx.nd.array(read['w'], dtype='float64').asnumpy().tolist() == [0, 1, 2, 3, 4]


def test_arrays_of_numpy_shapes_are_read(tmp_path):
    with mx.util.np_shape(True):
        mx.nd.save(str(tmp_path / 'x'), {'w': mx.nd.ones((3, 2))})
    assert from_bytes((tmp_path / 'x').read_bytes(), 'x')['w'].tolist() == [[1, 1]] * 3


@pytest.mark.parametrize('array', [np.float32(1), np.zeros((0, 3), np.float32), np.zeros(3, bool),
                                   np.zeros(3, '>f4')])
def test_what_no_file_can_hold_is_not_written(array):
    with pytest.raises(ValueError, match='w is of type .*, which a .params file cannot hold'):
        to_bytes({'w': np.asarray(array)})


def test_every_truncation_is_refused():
    content = to_bytes(arrays('float32'))
    for length in range(len(content)):
        with pytest.raises(ParamsError, match='w.params is not a sound .params file: .*; copy or '
                                              'export it again'):
            from_bytes(content[:length], 'w.params')


def test_flipped_bits_are_refused_or_stay_inside_their_array():
    """There is no checksum in the format, so values may change; sizes, names and the rest may not
    run away."""
    content = to_bytes({'w': np.zeros((2, 3), np.float32), 'b': np.zeros(2, np.float32)})
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            read = from_bytes(bytes(flipped), 'x')
        except ParamsError:
            continue
        assert len(read) == 2 and sum(array.nbytes for array in read.values()) == 32


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_integers_anywhere_are_refused_or_stay_inside_the_file(data):
    content = to_bytes({'w': np.zeros((2, 3), np.float32), 'b': np.zeros(2, np.int8)})
    at = data.draw(st.integers(0, len(content) - 8))
    value = data.draw(st.sampled_from(['<q', '<i'])), data.draw(st.integers(-2 ** 31, 2 ** 31 - 1))
    packed = struct.pack(*value)
    try:
        read = from_bytes(content[:at] + packed + content[at + len(packed):], 'x')
    except ParamsError:
        return
    assert sum(array.nbytes for array in read.values()) <= len(content)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    for content in (noise, struct.pack('<QQ', 0x112, 0) + noise):
        if content != struct.pack('<QQQQ', 0x112, 0, 0, 0):
            with pytest.raises(ParamsError):
                from_bytes(content, 'x')


def _one(magic=0xF993FAC9, storage=0, shape=(3, ), device=(1, 0), flag=0, name=b'w',
         values=bytes(12)):
    """A file of one array, fields as given."""
    array = struct.pack(f'<IiI{len(shape)}q', magic, storage, len(shape), *shape) + struct.pack(
        '<iii', *device, flag)
    return (struct.pack('<QQQ', 0x112, 0, 1) + array + values
            + struct.pack('<QQ', 1, len(name)) + name)


def test_one_sound_file():
    """So that what the next test changes is all that is wrong."""
    assert from_bytes(_one(), 'x')['w'].tolist() == [0, 0, 0]


@pytest.mark.parametrize('content, sentence', [
    (b'', 'it ends 16 bytes early'),
    (b'<html></html>' * 9, 'it does not begin as one'),
    (struct.pack('<QQQ', 0x112, 7, 0) + bytes(8), 'it does not begin as one'),
    (struct.pack('<QQQ', 0x112, 0, 2 ** 60), 'it has no room for 1152921504606846976 items'),
    (struct.pack('<QQQ', 0x112, 0, MOST_ARRAYS + 1) + bytes(40 * MOST_ARRAYS), 'it has no room for '
                                                                               '65537 items'),
    (to_bytes({'w': np.zeros(3, np.float32)}) + b'x', '1 bytes follow its end'),
    (_one(magic=0xF993FAC8), 'before MXNet 1.0'),
    (_one(storage=1), 'is sparse'),
    (_one(shape=()), 'has 0 axes'),
    (_one(shape=(1,) * 33), 'has 33 axes'),
    (_one(shape=(0,)), 'has type 0 and shape (0,)'),
    (_one(shape=(-3,)), 'has type 0 and shape (-3,)'),
    (_one(shape=(2 ** 62, 2 ** 62)), 'bytes early'),  # 2¹²⁴, which 64 bits would take for 0
    (_one(flag=7), 'has type 7'),
    (_one(flag=-1), 'has type -1'),
    (_one(device=(0, 0)), 'is of device 0 of type 0'),
    (_one(device=(2, -1)), 'is of device -1 of type 2'),
    (_one(name=b''), "has the name ''"),
    (_one(name=b'a\x00b'), "has the name 'a\\x00b'"),
    (_one(name=b'a' * 1025), "has the name 'aaaa"),
    (_one(name=b'\xff'), "can't decode byte 0xff")])
def test_what_is_not_one_is_refused(content, sentence):
    with pytest.raises(ParamsError) as error:
        from_bytes(content, 'x.params')
    assert sentence in str(error.value)


def test_two_arrays_of_one_name_are_refused():
    content = to_bytes({'aa': np.zeros(2, np.float32), 'ab': np.zeros(2, np.float32)}).replace(
        b'ab', b'aa')
    with pytest.raises(ParamsError, match='it has 2 arrays and 1 different names'):
        from_bytes(content, 'x')
