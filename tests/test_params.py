import struct

import numpy as np
import pytest

from gluon_a2.backend import mx
from gluon_a2.params import ParamsError, from_bytes, to_bytes

DTYPES = ['float16', 'float32', 'float64', 'uint8', 'int8', 'int32', 'int64']


def arrays(dtype):
    rng = np.random.default_rng(2)
    return {'arg:a_weight': (100 * rng.random((2, 3, 5, 7))).astype(dtype), 'aux:β': np.arange(11).astype(dtype)}


@pytest.mark.parametrize('dtype', DTYPES)
def test_written_byte_for_byte_as_mxnet_writes_it(tmp_path, dtype):
    values = arrays(dtype)
    mx.nd.save(str(tmp_path / 'mxnet'), {name: mx.nd.array(value, dtype=dtype) for name, value in values.items()})
    assert to_bytes(values) == (tmp_path / 'mxnet').read_bytes()


@pytest.mark.parametrize('dtype', DTYPES)
def test_read_as_written(dtype):
    values = arrays(dtype)
    read = from_bytes(to_bytes(values), 'x')
    assert list(read) == list(values)
    for name, value in values.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


def test_arrays_of_numpy_shapes_are_read(tmp_path):
    with mx.util.np_shape(True):
        mx.nd.save(str(tmp_path / 'x'), {'w': mx.nd.ones((3, 2))})
    assert from_bytes((tmp_path / 'x').read_bytes(), 'x')['w'].tolist() == [[1, 1]] * 3


def test_every_truncation_is_refused():
    content = to_bytes(arrays('float32'))
    for length in range(len(content)):
        with pytest.raises(ParamsError, match='w.params is not a sound .params file: .*; copy or export it again'):
            from_bytes(content[:length], 'w.params')


def test_flipped_bits_are_refused_or_stay_inside_their_array():
    """There is no checksum in the format, so values may change; sizes, names and the rest may not run away."""
    content = to_bytes({'w': np.zeros((2, 3), np.float32), 'b': np.zeros(2, np.float32)})
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            read = from_bytes(bytes(flipped), 'x')
        except ParamsError:
            continue
        assert len(read) == 2 and sum(array.nbytes for array in read.values()) == 32


@pytest.mark.parametrize('content, sentence', [
    (b'', 'it ends 16 bytes early'),
    (b'<html></html>' * 9, 'it does not begin as one'),
    (struct.pack('<QQQ', 0x112, 0, 2 ** 60), 'it has no room for 1152921504606846976 items'),
    (to_bytes({'w': np.zeros(3, np.float32)}) + b'x', '1 bytes follow its end'),
    (to_bytes({'w': np.zeros(3, np.float32)}).replace(b'\xc9\xfa\x93\xf9', b'\xc8\xfa\x93\xf9'), 'before MXNet 1.0')])
def test_what_is_not_one_is_refused(content, sentence):
    with pytest.raises(ParamsError) as error:
        from_bytes(content, 'x.params')
    assert sentence in str(error.value)


def test_two_arrays_of_one_name_are_refused():
    content = to_bytes({'aa': np.zeros(2, np.float32), 'ab': np.zeros(2, np.float32)}).replace(b'ab', b'aa')
    with pytest.raises(ParamsError, match='it has 2 arrays and 1 different names'):
        from_bytes(content, 'x')
