"""The errors that a user can mend. The command prints their message in one line, without a traceback."""


class UserError(Exception):
    """Something outside the code is wrong: a file, a checkpoint, a value. The message says what, and what to do.

    >>> UserError("no such folder: /data").exit_code
    1
    """

    exit_code = 1


class UsageError(UserError):
    """An argument or a configuration is wrong.

    >>> UsageError("batch size is 0, expected at least 1").exit_code
    2
    """

    exit_code = 2
