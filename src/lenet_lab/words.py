"""Words of others that are shown on a terminal."""


def printable(words: str, kept: str = "") -> str:
    """Replace what a terminal would not show but obey, or could not write.

    Args:
        words: from a file, a file's name, or another program.
        kept: characters to leave, such as line ends.
    """
    return "".join(each if each.isprintable() or each in kept else " " for each in words)
