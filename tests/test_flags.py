"""Options declared once: what the flag takes, what the check refuses, and what the help says."""
import argparse
import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gluon_a2.errors import UserError
from gluon_a2.flags import REQUIRED, add_flags, check, from_args, option, to_args

WORDS = st.text(st.characters(blacklist_categories=('Cs', 'Cc')), min_size=1)
NUMBERS = {'allow_nan': False, 'allow_infinity': False}


@dataclass(frozen=True)
class Sample:
    """An option of every kind."""
    size: int = option(224, 'side in pixels', low=1, high=4096, group='data')
    device: int = option(0, 'the CPU or a GPU', low=0, high=1, group='data')
    rate: float = option(0.1, 'learning rate', above=0, group='steps')
    share: float = option(0.0, 'share of the target', low=0, below=1, const=0.1, group='steps')
    scale: float = option(1.0, None, above=0, high=2, group='steps')
    limit: Optional[int] = option(None, 'at most so many', low=0, group='steps')
    mode: str = option('step', 'how it falls', choices=('step', 'poly'), short='-m', group='steps')
    folder: Optional[str] = option(None, 'where results go', metavar='DIR')
    mirror: bool = option(True, 'mirror half of the images')
    mixup: bool = option(False, 'mix pairs')
    no_wd: bool = option(False, 'no weight decay')
    epochs: Tuple[float, ...] = option((40.0, 60.0), 'when it falls', low=0)
    input_size: Optional[Tuple[int, ...]] = option(None, 'as 16,112,112', low=1)
    ranks: int = option(1, 'set by the launcher', flag=False)

    def __post_init__(self):
        check(self)


def parse(*argv, cls=Sample):
    parser = argparse.ArgumentParser()
    add_flags(parser, cls)
    return parser.parse_args([str(word) for word in argv])


@given(st.fixed_dictionaries({}, optional={
    'size': st.integers(1, 4096), 'device': st.integers(0, 1),
    'rate': st.floats(0, exclude_min=True, **NUMBERS),
    'share': st.floats(0, 1, exclude_max=True), 'scale': st.floats(0, 2, exclude_min=True),
    'limit': st.integers(0), 'mode': st.sampled_from(['step', 'poly']), 'folder': WORDS,
    'mirror': st.booleans(), 'mixup': st.booleans(), 'no_wd': st.booleans(),
    'epochs': st.lists(st.floats(0, **NUMBERS)).map(tuple),
    'input_size': st.lists(st.integers(1), min_size=1).map(tuple)}))
def test_every_flag_round_trips(values):
    words = to_args(Sample, values)
    assert from_args(Sample, parse(*words)) == Sample(**values)
    said = {name: value for name, value in values.items() if name != 'no_wd' or value}
    assert vars(parse(*words)) == said
    assert to_args(Sample, said) == words


@pytest.mark.parametrize('name, good, bad, rule', [
    ('size', [1, 4096], [0, 4097], '1 to 4096'), ('device', [0, 1], [-1, 2], '0 or 1'),
    ('rate', [5e-324, 1e300], [0.0, -1.0], 'above 0'),
    ('share', [0.0, float(np.nextafter(1, 0))], [-5e-324, 1.0], '0 or more and below 1'),
    ('scale', [5e-324, 2.0], [0.0, float(np.nextafter(2, 3))], 'above 0 and at most 2'),
    ('limit', [0, 10 ** 40, None], [-1], '0 or more'),
    ('epochs', [(), (0.0,)], [(-5e-324,)], '0 or more'),
    ('input_size', [(1,), None], [(1, 0)], '1 or more'),
    ('mode', ['poly'], ['linear'], 'one of step, poly'),
    ('rate', [1], [math.nan, math.inf], 'a finite number'), ('rate', [1], ['1', True], 'a number'),
    ('size', [1], [1.0, None, False], 'a whole number'), ('mirror', [False], [1], 'True or False'),
    ('folder', ['x'], [3], 'text'), ('folder', ['x'], [''], 'text of one letter or more'),
    ('epochs', [()], [3.0], 'several values')])
def test_every_bound_refuses_just_outside(name, good, bad, rule):
    for value in good:
        assert getattr(Sample(**{name: value}), name) == value
    for value in bad:
        with pytest.raises(UserError, match=rf'^`{name}` must be {re.escape(rule)}, not '):
            Sample(**{name: value})


def test_the_sentence_shows_the_value():
    with pytest.raises(UserError, match="^`mode` must be one of step, poly, not 'linear'$"):
        Sample(mode='linear')
    with pytest.raises(UserError, match='^`epochs` must be 0 or more, not -2$'):
        Sample(epochs=(1, -2))


def test_flags_not_given_are_absent_and_take_what_they_should():
    assert vars(parse()) == {}
    assert vars(parse('--share', '--no-mirror', '-m', 'poly')) == {
        'share': 0.1, 'mirror': False, 'mode': 'poly'}
    assert vars(parse('--epochs', '30,60.5,', '--no-mixup', '--no-wd')) == {
        'epochs': (30.0, 60.5), 'mixup': False, 'no_wd': True}


@pytest.mark.parametrize('words, sentence', [
    (['--epochs', '30,x'], "argument --epochs: must be numbers separated by commas, not '30,x'"),
    (['--input-size', '3.5'], "argument --input-size: must be whole numbers separated by commas"),
    (['--rate', 'fast'], "argument --rate: invalid float value: 'fast'"),
    (['--ranks', '2'], 'unrecognized arguments: --ranks'),
    (['--no-no-wd'], 'unrecognized arguments: --no-no-wd')])
def test_words_that_are_no_values(capsys, words, sentence):
    with pytest.raises(SystemExit):
        parse(*words)
    assert sentence in capsys.readouterr().err


def test_the_help_has_a_line_for_each_option(monkeypatch):
    monkeypatch.setenv('COLUMNS', '100')
    parser = argparse.ArgumentParser(prog='x', formatter_class=argparse.RawTextHelpFormatter)
    add_flags(parser, Sample, skip=['folder'], title='other',
              shown=dataclasses.replace(Sample(), size=32))
    said = parser.format_help()
    assert said.startswith('usage: x [flags]\n') and 'ranks' not in said and 'folder' not in said
    assert said[said.index('data:'):] == """\
data:
  --size 32                   side in pixels
  --device 0                  the CPU or a GPU

steps:
  --rate 0.1                  learning rate
  --share [SHARE] --scale 1   share of the target
  --limit LIMIT               at most so many
  -m, --mode step             how it falls: step|poly

other:
  --[no-]mirror               mirror half of the images
  --mixup                     mix pairs
  --no-wd                     no weight decay
  --epochs 40.0,60.0          when it falls
  --input-size SIZE           as 16,112,112
"""


def test_long_flags_and_long_texts_wrap_within_the_width(monkeypatch):
    @dataclass
    class Wordy:
        a_flag_of_quite_some_length: str = option('and its default', 'a text ' * 20 + '100 % long')

    monkeypatch.setenv('COLUMNS', '60')
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, Wordy)
    lines = parser.format_help().splitlines()
    assert max(map(len, lines)) <= 60 and lines[-1].endswith('long')
    assert '  --a-flag-of-quite-some-length and its default' in lines


def test_words_without_a_flag_and_flags_that_must_be_there(capsys):
    @dataclass(frozen=True)
    class Words:
        network: str = option(REQUIRED, 'the network', positional=True)
        out: str = option(REQUIRED, 'where it goes', metavar='DIR')
        inputs: Tuple[str, ...] = option((), 'files', positional=True, metavar='FILE')

    assert from_args(Words, parse('net', '--out', 'o', cls=Words)) == Words('net', 'o')
    assert from_args(Words, parse('net', 'a', 'b', '--out=o', cls=Words)).inputs == ('a', 'b')
    for words in ([], ['net'], ['--out', 'x']):
        with pytest.raises(SystemExit):
            parse(*words, cls=Words)
    assert 'usage: ' in capsys.readouterr().err
