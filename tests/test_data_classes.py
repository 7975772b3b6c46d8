"""Class names: sound ones are read, others refused, and data and network meet by name."""
import logging
import time
from types import SimpleNamespace

import numpy as np
import pytest

from gluon_a2.data import check_labels, match_classes
from gluon_a2.data.classes import MAX_CLASSES, numbers, read_classes, write_classes
from gluon_a2.errors import UserError


class Labelled(SimpleNamespace):
    """A source that is only its labels and classes."""

    def __len__(self):
        return len(self.labels)

    def name(self, i):
        return f'sample {i}'


def source(classes, labels=None, named=True):
    labels = np.arange(len(classes)) if labels is None else np.array(labels)
    return Labelled(classes=tuple(classes), labels=labels, named=named)


@pytest.mark.parametrize('content', [
    b'tench\nhammer head\n\xc3\xbcber\n', b'\xef\xbb\xbftench\r\nhammer head\r\n\xc3\xbcber',
    b'tench\nhammer head\n\xc3\xbcber\n\n\n'])
def test_what_editors_do_to_a_list(tmp_path, content):
    (tmp_path / 'classes.txt').write_bytes(content)
    assert read_classes(tmp_path / 'classes.txt') == ('tench', 'hammer head', 'über')


@pytest.mark.parametrize(('content', 'sentence'), [
    (b'a\nb\na\n', "the class name 'a' stands 2 times"), (b'a\n\nb\n', "'' is blank"),
    (b'a\ncaf\xe9\n', r"'caf\\xe9' is not UTF-8")])
def test_names_that_are_none(tmp_path, content, sentence):
    (tmp_path / 'classes.txt').write_bytes(content)
    with pytest.raises(UserError, match='classes.txt: .*' + sentence + '.*: rename or remove it'):
        read_classes(tmp_path / 'classes.txt')


def test_written_as_they_are_read(tmp_path):
    write_classes(tmp_path, ['tench', 'über'])
    assert (tmp_path / 'classes.txt').read_bytes() == 'tench\nüber\n'.encode()
    assert read_classes(tmp_path / 'classes.txt') == ('tench', 'über')
    with pytest.raises(UserError, match='is not one line'):
        write_classes(tmp_path, ['a\nb', 'c'])
    with pytest.raises(UserError, match='cannot be read'):
        read_classes(tmp_path / 'nothing.txt')


def test_numbers_stand_for_names_up_to_a_bound():
    assert numbers(3, 'x') == ('0', '1', '2')
    with pytest.raises(UserError, match=f'x has the label {MAX_CLASSES}, and classes are fewer'):
        numbers(MAX_CLASSES + 1, 'x')


def test_as_many_classes_as_are_allowed_match_in_a_moment():
    start = time.process_time()
    match_classes(source(numbers(2 ** 17, 'x')), ['none', *numbers(2 ** 17, 'x')])
    assert time.process_time() - start < 5


def test_names_decide_whatever_their_order(caplog):
    """Eleven folders: alphabetically 10 comes before 2."""
    eleven = sorted(map(str, range(11)))
    one = source(eleven)
    match_classes(one, [str(i) for i in range(11)])
    assert one.labels.tolist() == [int(name) for name in eleven]
    assert one.classes == tuple(map(str, range(11)))
    other = source(['b', 'a'], [0, 0, 1])
    match_classes(other, ['a', 'b'])
    assert other.labels.tolist() == [1, 1, 0] and caplog.text == ''


def test_a_class_without_a_sample_is_named(caplog):
    some = source(['a', 'd'])
    match_classes(some, ['a', 'b', 'c', 'd'])
    assert some.labels.tolist() == [0, 3]
    assert '2 of the 4 classes have no sample in this data: b, c' in caplog.text


@pytest.mark.parametrize(('classes', 'names', 'sentence'), [
    (['a', 'b', 'c'], ['a', 'b'], "1 of the data's are unknown to it, such as 'c'"),
    (['cat', 'dog'], list('0123456789'), "data has 2 classes and the network 10. 2 of .*'cat'"),
    (['10', *'0123456789'], list('0123456789'), "such as '10'"),
    (['0', '1', 'two'], ['0', '1', '2'], "1 of the data's are unknown to it, such as 'two'"),
    (['crane', 'tench'], ['crane', 'crane', 'tench'], "unknown to it, such as 'crane'")])
def test_what_names_do_not_decide_is_refused(classes, names, sentence):
    with pytest.raises(UserError, match=sentence):
        match_classes(source(classes), names)


def test_the_same_names_match_even_where_one_stands_twice():
    one = source(['crane', 'crane', 'tench'])
    match_classes(one, ['crane', 'crane', 'tench'])
    assert one.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(('one', 'names', 'sentence'), [
    (source(['0', '1'], [1, 0], named=False), ['cat', 'dog'], 'the data has no names for them'),
    (source(['cat', 'dog'], [1, 0]), ['0', '1'], 'the network has no names for them')])
def test_by_number_where_one_side_has_no_names(one, names, sentence, caplog):
    with caplog.at_level(logging.WARNING):
        match_classes(one, names)
    assert one.labels.tolist() == [1, 0] and one.classes == tuple(names)
    assert f'matched by number, because {sentence}' in caplog.text


def test_the_names_of_digits_are_names():
    one = source(['cat', 'dog'])
    with pytest.raises(UserError, match="2 of the data's are unknown to it, such as 'cat'"):
        match_classes(one, ['0', '1'], named=True)


def test_numbers_are_not_taken_for_names():
    """Labels of records without `classes.txt` are the network's numbers, not names of classes."""
    one = source(['0', '1', '2'], [2, 1, 0], named=False)
    match_classes(one, ['0', '10', '2'])
    assert one.labels.tolist() == [2, 1, 0]
    with pytest.raises(UserError, match='labels are outside 0…1'):
        match_classes(source(['0', '1', '2'], named=False), ['cat', 'dog'])


@pytest.mark.parametrize(('labels', 'sentence'), [
    ([0, 3, 1], '1 of 3 labels .* 0…2, .* 3 at sample 1'),
    ([-1, 4, 0], '2 of 3 labels .* -1 at sample 0')])
def test_labels_outside(labels, sentence):
    with pytest.raises(UserError, match=sentence):
        check_labels(source('abc', labels), 3)
