"""Errors that the user can fix."""


class UserError(Exception):
    """Wrong input, a missing file, a full disk: something to fix outside the program.

    Its text is one or two lines that name the value, the cause and the cure. The commands print it without a
    traceback and end with exit status 2; any other exception is a fault of the program and ends with 1.
    """


class IncompleteError(UserError):
    """Part of the work failed, because part of the input is unusable or training diverged; the results so far stay."""
