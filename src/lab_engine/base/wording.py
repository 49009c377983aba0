"""Parts of messages: values on one line, numbers with their nouns, suggestions for misspelled names."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MAX_VALUE = 200  # characters of a value in a message
MAX_NAMES = 10_000  # that are compared with a misspelled one; 100,000 take seconds
MAX_LINE = 240  # characters of a line from another program


def shown(value: Any) -> str:
    """Write a value of the configuration on one line, as `printable`; a long value is cut in the middle."""
    plain = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    text = printable(plain)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE // 2]}…{text[-MAX_VALUE // 2 :]}"


def printable(text: str, kept: str = "") -> str:
    r"""Write text or the path of a file on one line, in characters that every terminal and UTF-8 file can hold.

    Bytes that are not text are written as in `caf\xe9.png`, control characters, which a terminal would obey, as in
    `a\nb.png`.

    Args:
        text: from a file, a file's name, or another program.
        kept: characters to leave, such as line ends.
    """
    return "".join(each if each.isprintable() or each in kept else _escaped(each) for each in text)


def counted(number: float, what: str) -> str:
    """Write a number with its noun, given in the singular: 1 file, 2,000 files, 1.5 minutes."""
    whole = number == int(number)
    return f"{int(number) if whole else number:,{'' if whole else 'g'}} {what}{'' if number == 1 else 's'}"


def described(value: Any) -> str:
    """Write the dtype and shape of a tensor or an array, and the type of any other value."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {', '.join(map(described, value[:4]))}{', …' if len(value) > 4 else ''}"
    return type(value).__name__


def is_percent(name: str, percent: Iterable[str]) -> bool:
    """Return whether a metric is written in percent, as `val/recall/cat` is where `percent` has `recall`."""
    return name.partition("/")[2].partition("/")[0] in percent


def metric(name: str, value: float, percent: Iterable[str]) -> str:
    """Write a metric for a person to read: rounded, in percent if `percent` has its name."""
    if is_percent(name, percent):
        return f"{value:.2%}"
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.4g}"


def shortened(text: str, most: int = MAX_LINE) -> str:
    """Write text of another program on one line, as `printable`; long text is cut at the end of a word."""
    return textwrap.shorten(printable(text), most, placeholder="…")


def encodable(name: str) -> str:
    r"""Return a name of a file as UTF-8 can hold it: bytes that are not text are written as in `caf\xe9`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte that is not text
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return a suggestion from `options` to append to a message; empty if none is similar."""
    close = _closest(name, options)
    return f"; did you mean {close}?" if close else ""


def did_you_mean_metric(metric: str, known: Iterable[str]) -> str:
    """Return a suggestion as `did_you_mean`, or the metric whose beginning is given, such as `val/acc`.

    It has the same stage if any has: sharing `val/` makes no two metrics similar.
    """
    stage = metric[: metric.find("/") + 1]
    known = list(known)
    names = [each.removeprefix(stage) for each in known if each.startswith(stage)]
    if not names:
        return did_you_mean(metric, known)
    given = metric.removeprefix(stage)
    close = _closest(given, names) or next((name for name in names if name.startswith(given)), "")
    return f"; did you mean {stage}{close}?" if close else ""


def _closest(name: str, options: Iterable[str]) -> str:
    import difflib  # here, so that a start without errors is not slower

    return next(iter(difflib.get_close_matches(name, list(options), n=1)), "")


def did_you_mean_path(path: Path) -> str:
    """Return a suggestion for a path that does not exist, from the files and folders beside it, as `did_you_mean`."""
    names = names_in(path.parent)
    if path.name in names or len(names) > MAX_NAMES:  # a link may lead nowhere
        return ""
    return printable(did_you_mean(path.name, names))


def names_in(folder: Path) -> list[str]:
    """Return the names of the files and folders in `folder`, sorted; none if it cannot be read."""
    try:
        return sorted(each.name for each in folder.iterdir())
    except OSError:
        return []
