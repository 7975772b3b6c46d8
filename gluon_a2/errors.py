"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Bad input: its message is one sentence that names the file, flag or value and the way out.

    Library code raises it (or a subclass) for anything the caller can mend; the scripts print the
    message without a traceback and exit with its `exit_code` (`gluon_a2.cli`).
    """

    exit_code = 2
