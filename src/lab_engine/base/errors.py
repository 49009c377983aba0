"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """Wrong input, a missing file, a full disk: something to mend outside the program.

    Its text is one or two lines that name the value, the cause and the cure. The commands print it without a
    traceback and end with exit status 2; any other exception is a fault of the program and ends with 1.
    """


class IncompleteError(UserError):
    """Not all could be done, for a part of the input is of no use or training diverges; what came out stays."""
