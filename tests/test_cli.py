import errno

import pytest

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError


@pytest.mark.parametrize('error, sentence', [
    (UserError('--lr must be above 0, not -1'), 'error: --lr must be above 0, not -1\n'),
    (OSError(errno.ENOSPC, 'No space left on device', 'run/x'),
     'error: no space left on the disk while writing run/x: free some and run again\n'),
    (PermissionError(errno.EACCES, 'Permission denied', 'run/x'),
     'error: run/x cannot be used: Permission denied; choose another path\n'),
    (KeyboardInterrupt(), 'error: interrupted\n')])
def test_mistakes_end_in_one_sentence_and_exit_code_2(capsys, error, sentence):
    @entry
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize('error', [ValueError('ours'), OSError(errno.EPERM, 'other')])
def test_our_own_defects_keep_their_traceback(error):
    @entry
    def main(argv):
        raise error

    with pytest.raises(type(error)):
        main([])


def test_entry_returns_what_main_returns():
    assert entry(lambda argv: argv)([1]) == [1]


def test_abbreviated_flags_are_refused(capsys):
    flags = parser('doc')
    flags.add_argument('--model')
    with pytest.raises(SystemExit):
        flags.parse_args(['--mod', 'x'])
    assert '--mod' in capsys.readouterr().err


def test_table_aligns_text_left_and_numbers_right(capsys):
    show_table([['name', 'count'], ['a', 1234567], ['long', 5]])
    assert capsys.readouterr().out.splitlines() == [
        'name  count',
        '----  ---------',
        'a     1,234,567',
        'long          5']


def test_an_error_may_have_an_exit_code_of_its_own(capsys):
    class Lost(UserError):
        exit_code = 1

    @entry
    def main(argv):
        raise Lost('gone')

    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 1 and capsys.readouterr().err == 'error: gone\n'
