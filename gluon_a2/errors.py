"""A user's mistake, and the advice that several of its messages share."""


class UserError(ValueError):
    """Bad input: its message is one sentence that names the file, option or value and the way out.

    Library code raises it (or a subclass) for anything the caller can correct, and writes an option
    as Python spells it, in backticks. The scripts print the message without a traceback and exit
    with its `exit_code` (`gluon_a2.cli`).
    """

    exit_code = 2


class Interrupted(UserError):
    """Ctrl-C has ended the work; the message says what is kept and how to go on."""

    exit_code = 130


def install_extra(name: str) -> str:
    """The command that installs an extra: the name is in no package index."""
    return (f"pip install -e '.[{name}]' in the checkout of gluon_a2, or pip install "
            f"'WHEEL[{name}]' with its wheel")
