"""Our record files and MXNet's: each reads the other's, and no damage passes for an image."""
import os
import pickle
import struct
import types

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gluon_a2.backend import mx
from gluon_a2.data import ImageError, RecordError, RecordReader, RecordWriter
from gluon_a2.errors import UserError

MAGIC = struct.pack('<I', 0xced7230a)
# Payloads that must be cut, or must not: a header has 24 bytes, so aligned here is aligned there.
AWKWARD = [
    b'', b'x', MAGIC, MAGIC * 3, b'abc' + MAGIC, b'abcd' + MAGIC, b'abcd' + MAGIC + b'e',
    MAGIC + b'abcde' + MAGIC, b'ab' + MAGIC + b'cd' + MAGIC + MAGIC[:3], MAGIC[:3],
    bytes(4096) + MAGIC + bytes(5)]
payloads = st.lists(st.sampled_from([MAGIC, b'a', b'bc', b'\0\0\0', MAGIC[:2]]),
                    max_size=12).map(b''.join)


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def write_ours(path, items):
    """`items`: (payload, label) pairs."""
    with RecordWriter(path) as writer:
        for payload, label in items:
            writer.write(payload, label)
    return str(path)


def write_theirs(path, items):
    path = str(path)
    writer = mx.recordio.MXIndexedRecordIO(path[:-4] + '.idx', path, 'w')
    for key, (payload, label) in enumerate(items):
        writer.write_idx(key, mx.recordio.pack(mx.recordio.IRHeader(0, label, key, 0), payload))
    writer.close()
    return path


def contents(path):
    """All (labels, id, payload) by our reader; a damaged record is None."""
    reader, found = RecordReader(path), []
    for i in range(len(reader)):
        try:
            found.append(tuple(reader.read(i)))
        except ImageError:
            found.append(None)
    return found


LABELLED = [(payload, float(i)) for i, payload in enumerate(AWKWARD)]


@pytest.mark.parametrize('with_index', [True, False])
@pytest.mark.parametrize('write', [write_ours, write_theirs])
def test_we_read_both(tmp_path, write, with_index):
    path = write(tmp_path / 'a.rec', LABELLED)
    if not with_index:
        os.remove(path[:-4] + '.idx')
    assert contents(path) == [((label,), i, payload) for i, (payload, label) in enumerate(LABELLED)]
    RecordReader(path).check_complete()


def test_another_writer_may_put_anything_into_id2(tmp_path):
    path = str(tmp_path / 'a.rec')
    writer = mx.recordio.MXIndexedRecordIO(path[:-4] + '.idx', path, 'w')
    for key, (payload, label) in enumerate(LABELLED):
        writer.write_idx(key, mx.recordio.pack(mx.recordio.IRHeader(0, label, key, 7 + key),
                                               payload))
    writer.close()
    assert contents(path) == [((label,), i, payload) for i, (payload, label) in enumerate(LABELLED)]


class WithToString(np.ndarray):
    """Has the method by which MXNet packs several labels, and which numpy 2.3 took out."""

    def tostring(self):
        return self.tobytes()


@pytest.mark.parametrize('write', [write_ours, write_theirs])
def test_several_labels(tmp_path, monkeypatch, write):
    def asarray(values, dtype):
        return np.asarray(values, dtype).view(WithToString)

    monkeypatch.setattr(mx.recordio, 'np',
                        types.SimpleNamespace(asarray=asarray, float32=np.float32))
    labels = [1., -2.5, 3e7]
    path = write(tmp_path / 'a.rec', [(b'image' + MAGIC, labels), (b'', [5.])])
    assert contents(path) == [(tuple(labels), 0, b'image' + MAGIC), ((5.,), 1, b'')]
    assert RecordReader(path).labels(0) == tuple(labels)


def test_mxnet_reads_ours(tmp_path):
    items = [*LABELLED, (b'several', [1., 2.5])]
    path = write_ours(tmp_path / 'a.rec', items)
    reader = mx.recordio.MXIndexedRecordIO(path[:-4] + '.idx', path, 'r')
    assert reader.keys == list(range(len(items)))
    for key, (payload, label) in reversed(list(enumerate(items))):
        header, image = mx.recordio.unpack(reader.read_idx(key))
        assert image == payload and header.id == key
        np.testing.assert_array_equal(header.label, label)
    reader.close()


def test_our_parts_are_cut_as_theirs(tmp_path):
    """Apart from the checksum, the files are the same, byte for byte."""
    ours = write_ours(tmp_path / 'a.rec', LABELLED)
    theirs = write_theirs(tmp_path / 'b.rec', LABELLED)
    assert read(ours[:-4] + '.idx') == read(theirs[:-4] + '.idx')
    a, b = bytearray(read(ours)), read(theirs)
    for offset in RecordReader(ours).offsets:
        # id2, behind part header (8), flag, label (8) and id (8)
        a[offset + 24:offset + 32] = bytes(8)
    assert a == b


@settings(max_examples=60, deadline=None)
@given(st.lists(payloads, min_size=1, max_size=5))
def test_any_payload_round_trip(tmp_path_factory, items):
    path = write_ours(tmp_path_factory.mktemp('records') / 'a.rec', [(item, 1) for item in items])
    assert [image for _, _, image in contents(path)] == items


def test_image_record_iter_reads_ours(tmp_path):
    images = [np.full((16, 16, 3), 20 * i, np.uint8) for i in range(7)]
    path = write_ours(tmp_path / 'a.rec', [(cv2.imencode('.png', image)[1].tobytes(), i)
                                           for i, image in enumerate(images)])
    records = mx.io.ImageRecordIter(path_imgrec=path, path_imgidx=path[:-4] + '.idx',
                                    data_shape=(3, 16, 16), batch_size=7, preprocess_threads=1,
                                    ctx='cpu', verbose=False)
    batch = next(records)
    assert batch.label[0].asnumpy().tolist() == list(range(7))
    assert batch.data[0].asnumpy()[:, 0, 0, 0].tolist() == [20 * i for i in range(7)]


def test_list_and_index_look_like_im2rec(tmp_path):
    with RecordWriter(tmp_path / 'a.rec') as writer:
        writer.write(b'abc', 3, key=17, name='cläss one/b c.jpg')
        writer.write(b'defg', 2, key=5, name='x/y.jpg')
    assert (tmp_path / 'a.idx').read_text() == '17\t0\n5\t36\n'  # 8 + 24 + 3 bytes, padded to 36
    assert (tmp_path /
            'a.lst').read_text('utf-8') == '17\t3.000000\tcläss one/b c.jpg\n5\t2.000000\tx/y.jpg\n'
    reader = RecordReader(tmp_path / 'a.rec')
    assert reader.name(0) == f'{tmp_path}/a.rec#17' and reader.read(1).id == 5


def test_index_order_is_kept(tmp_path):
    path = write_ours(tmp_path / 'a.rec', LABELLED)
    index = tmp_path / 'a.idx'
    index.write_text(''.join(reversed(index.read_text().splitlines(keepends=True))))
    assert [image for _, _, image in contents(path)] == AWKWARD[::-1]


def test_pickles_without_its_map(tmp_path):
    reader = RecordReader(write_ours(tmp_path / 'a.rec', LABELLED))
    reader.read(0)
    copy = pickle.loads(pickle.dumps(reader))
    assert [copy.read(i) for i in range(len(copy))] == [reader.read(i) for i in range(len(reader))]


def small(folder):
    """A tiny file with everything in it: a cut record, two labels, padding."""
    return write_ours(folder / 'a.rec', [(b'abcd' + MAGIC + b'e', 2.), (b'xyz', [1., 3.]),
                                         (b'', 5.)])


def outcome(path, expected):
    """'error' or 'same'; anything else fails."""
    try:
        found = contents(path)
    except RecordError:
        return 'error'
    assert len(found) == len(expected)
    assert all(one is None or one == other for one, other in zip(found, expected))
    return 'same' if found == expected else 'error'


@pytest.mark.parametrize('with_index', [True, False])
def test_every_bit_flip(tmp_path, with_index):
    path = small(tmp_path)
    expected, whole = contents(path), read(path)
    if not with_index:
        os.remove(path[:-4] + '.idx')
    unseen = []
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with open(path, 'wb') as file:
            file.write(damaged)
        if outcome(path, expected) == 'same':
            unseen.append(bit // 8)
    assert set(unseen) == {45, 46, 47, 91}  # the padding, which nobody reads


@pytest.mark.parametrize('with_index', [True, False])
def test_every_truncation(tmp_path, with_index):
    path = small(tmp_path)
    expected, whole = contents(path), read(path)
    if not with_index:
        os.remove(path[:-4] + '.idx')
    starts = RecordReader(path).offsets.tolist()
    for length in range(len(whole)):
        with open(path, 'wb') as file:
            file.write(whole[:length])
        # a sound file of fewer records: only the index knows
        if not with_index and length in starts[1:]:
            assert contents(path) == expected[:starts.index(length)]
        else:
            with pytest.raises(RecordError, match='a.rec'):
                RecordReader(path)


def test_every_bit_flip_of_the_index(tmp_path):
    """Never a crash, never another record's bytes under one's offset: at worst another key."""
    path = small(tmp_path)
    expected, index = contents(path), tmp_path / 'a.idx'
    whole = index.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        index.write_bytes(damaged)
        outcome(path, expected)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_of_up_to_32_bits(tmp_path_factory, data):
    """As much as a CRC-32 promises to find; and lost or added bytes, which shift what follows."""
    folder = tmp_path_factory.mktemp('records')
    path = small(folder)
    expected, whole = contents(path), bytearray(read(path))
    start = data.draw(st.integers(0, len(whole) - 1))
    whole[start:start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    with open(path, 'wb') as file:
        file.write(whole)
    outcome(path, expected)


def test_a_shifted_file_does_not_pass_for_a_foreign_one(tmp_path):
    """Three bytes are lost, so all that follows is damaged, and the first record seems whole."""
    path = small(tmp_path)
    expected, whole = contents(path), read(path)
    for length in range(256):
        with open(path, 'wb') as file:
            file.write(whole[:4] + bytes([length]) + whole[8:])
        outcome(path, expected)


def test_damage_of_foreign_files_is_bounded(tmp_path):
    """Without a checksum the payload's bits are anyone's guess, but nothing crashes."""
    path = write_theirs(tmp_path / 'a.rec', LABELLED[:4])
    whole = read(path)
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with open(path, 'wb') as file:
            file.write(damaged)
        try:
            assert len(contents(path)) == 4
        except RecordError as error:
            assert 'a.rec' in str(error)


@pytest.mark.parametrize(('index', 'message'), [
    ('', 'is no record index'), ('0\t0\n', 'the last record'),
    ('0\t0\n1\t999999\n', 'points to offset 999999'), ('nonsense\n', 'is no record index'),
    ('0\t0\t0\n', 'is no record index'), ('0\t-8\n', 'damaged'),
    ('0\t99999999999999999999999\n', 'is no record index'), ('0\t0\n1\t0\n', 'damaged'),
    ('0\t4\n', 'damaged')])
def test_bad_index(tmp_path, index, message):
    path = small(tmp_path)
    (tmp_path / 'a.idx').write_text(index)
    with pytest.raises(RecordError, match=message) as caught:
        RecordReader(path)
    assert 'a.idx' in str(caught.value)


def test_index_that_skips_a_record(tmp_path):
    path = small(tmp_path)
    lines = (tmp_path / 'a.idx').read_text().splitlines(keepends=True)
    (tmp_path / 'a.idx').write_text(lines[0] + lines[2])
    with pytest.raises(RecordError, match='holds 3 records, its index lists 2'):
        RecordReader(path).check_complete()
    with pytest.raises(ImageError, match='ends at byte'):
        RecordReader(path).read(0)


@pytest.mark.parametrize('content', [None, b'', b'hello, world: no records here'])
def test_no_record_file(tmp_path, content):
    path = tmp_path / 'a.rec'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError, match='a.rec'):
        RecordReader(path)


def test_damaged_record_is_named_and_the_others_are_read(tmp_path):
    path = small(tmp_path)
    offset = RecordReader(path).offsets[1]
    with open(path, 'r+b') as file:
        file.seek(offset)
        file.write(b'JUNK')
    reader = RecordReader(path)
    with pytest.raises(ImageError, match='magic word'):
        reader.read(1)
    assert reader.read(0).image == b'abcd' + MAGIC + b'e' and reader.read(2).labels == (5.,)


def test_error_while_writing_leaves_what_was_there(tmp_path):
    path = small(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(ZeroDivisionError), RecordWriter(path) as writer:
        writer.write(b'new', 1)
        1 / 0  # noqa: B018
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_overwriting_leaves_the_new_files_only(tmp_path):
    small(tmp_path)
    assert contents(write_ours(tmp_path / 'a.rec', [(b'new', 1.)])) == [((1.,), 0, b'new')]
    assert sorted(os.listdir(tmp_path)) == ['a.idx', 'a.lst', 'a.rec']


@pytest.mark.parametrize('name', ['a\tb.jpg', 'a\nb.jpg'])
def test_unlistable_name(tmp_path, name):
    with pytest.raises(UserError, match='rename'), RecordWriter(tmp_path / 'a.rec') as writer:
        writer.write(b'', 1, name=name)
    assert os.listdir(tmp_path) == []
