"""Other people's exceptions in a line or two: which value, why, and what to do about it."""

import difflib
import errno
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from lenet_lab.errors import UserError

MENDABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}
NO_GROUP = re.compile(r"Could not override '([\w/]+)'")


def explain(error: Exception) -> str | None:
    """Say in one or two lines what the user should mend, or None where it is not the user's to mend."""
    cause = error.__cause__
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MissingConfigException):
        return _no_such_option(error)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return _no_such_key(cause)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing: give it as {error.full_key}=VALUE"
    if isinstance(error, ConfigCompositionException) and (group := NO_GROUP.match(str(error))):
        given = next((word for word in sys.argv[1:] if word.split("=")[0] == group[1]), group[1])
        return f"{given} is refused: this command has no group {group[1]}"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} is refused: write KEY=VALUE, and quote a value with special characters: 'KEY=\"a, b\"'"
        )
    if isinstance(error, HydraException | OmegaConfBaseException):
        text = f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error)
        return "\n".join([line.strip() for line in text.splitlines() if line.strip()][:2])
    if (of_disk := disk_error(error)) is not None:
        return f"{of_disk.filename or 'file'}: {of_disk.strerror}. Choose another place, or make room there."
    return None


def disk_error(error: Exception) -> OSError | None:
    """Give the error of a full disk, or one that may not be written, that `error` is or comes from, or None."""
    # torch.save cannot end its file then, and says so instead of why
    found = error.__context__ if isinstance(error, RuntimeError) else error
    return found if isinstance(found, OSError) and found.errno in MENDABLE else None


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Let an error of the disk that does not say where it was, as of a file that was open, say that it was there."""
    try:
        yield
    except Exception as error:
        if (of_disk := disk_error(error)) is not None and of_disk.filename is None:
            of_disk.filename = str(folder)
        raise


def one_line(error: BaseException) -> str:
    """Sum up what a traceback ends with."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")


def _no_such_option(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    if not options and group:  # of several, as logger=[a,b], Hydra does not tell them
        from lenet_lab.command import config_folder

        options = sorted(file.stem for file in (config_folder() / group).glob("*.yaml"))
    if not group or not options:
        return str(error).splitlines()[0]
    return f"{group}={name} is refused: there is no such option{_meant(name, options)}\nallowed: {', '.join(options)}"


def _no_such_key(error: OmegaConfBaseException) -> str:
    key = str(error.full_key)
    parent, _, name = key.rpartition(".")
    given = next((word for word in sys.argv[1:] if word.split("=")[0] == key), key)
    siblings = sorted(map(str, error.parent_node)) if error.parent_node is not None else []
    siblings = [sibling for sibling in siblings if sibling not in ("hydra", "folder", "choices")]
    where = f"keys of {parent}" if parent else "keys"
    allowed = f"\n{where}: {', '.join(siblings)}" if siblings else ""
    return f"{given} is refused: there is no such key{_meant(name, siblings)}{allowed}"


def _meant(name: str, options: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(options), n=1)
    return f"; did you mean {close[0]}?" if close else ""
