"""What every script shares: one place where a mistake becomes a sentence and an exit code."""
import argparse
import errno
import functools
import os
import sys

from .errors import UserError


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the script's docstring as it is written and adds each flag's default, where it has
    one."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def parser(doc):
    """An `ArgumentParser` described by a script's docstring; abbreviated flags are refused."""
    return argparse.ArgumentParser(description=doc, formatter_class=HelpFormatter,
                                   allow_abbrev=False)


def entry(main):
    """Decorate a script's `main`: user errors, full disks and unusable files end in one sentence,
    exit code 2 unless the error has another.

    Every other exception is a defect of ours and keeps its traceback.
    """
    @functools.wraps(main)
    def run(argv=None):
        code = 2
        try:
            return main(argv)
        except UserError as error:
            sentence, code = str(error), error.exit_code
        except BrokenPipeError:  # who was reading, head for example, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            sentence = _about_file(error)
            if sentence is None:
                raise
        except KeyboardInterrupt:
            sentence = 'interrupted'
        print(f'error: {sentence}', file=sys.stderr)
        sys.exit(code)
    return run


def _about_file(error):
    """A sentence for an OSError that has to do with a file the user named or a full disk; None for
    others."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f'no space left on the disk while writing {error.filename or "a file"}: free some and run again'
    if error.filename is None:
        return None
    return f'{error.filename} cannot be used: {error.strerror}; choose another path'


def show_table(rows):
    """Print rows in aligned columns, the first as a header; numbers get separators and stand
    right."""
    cells = [[f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for values, row in zip(rows, cells):
        print('  '.join(cell.rjust(width) if isinstance(value, int) else cell.ljust(width)
                        for value, cell, width in zip(values, row, widths)).rstrip())
        if row is cells[0]:
            print('  '.join('-' * width for width in widths))
