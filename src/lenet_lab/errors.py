"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """Wrong input, a missing file, a full disk: something to mend outside the program.

    Its text is one or two lines that name the value, the cause and the cure. The commands print it without a
    traceback and end with exit status 2; any other exception is a fault of the program and ends with 1.
    """


class IncompleteError(UserError):
    """A part of the input could not be used; the rest is done, and what came out stays."""
