"""Exceptions of other packages in a line or two: which value, why, and what to do about it."""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from lab_engine import CONF
from lab_engine.base.errors import UserError
from lab_engine.base.signals import Interrupted
from lab_engine.base.streams import drop_failed_stdout
from lab_engine.base.wording import did_you_mean, printable, shortened, shown
from lab_engine.config.command import EXIT_USER_ERROR, SHOW_TRACEBACK, Command
from lab_engine.config.command_line import OF_RECORDED, SET_BY_THE_PROGRAM
from lab_engine.config.first_tries import instead

FIXABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}
NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")
NO_GROUP = re.compile(r"Could not override '([\w/]+)'")
SEVERAL = re.compile(r"Ambiguous value for argument '(.*)'")
COMPOSES = ("hydra._internal.defaults_list", "hydra._internal.config_", "hydra.core.override_parser")
"""Modules of Hydra that read only the user's words and files; Hydra does not catch all errors in these."""
NO_MEMORY = (
    *("can't allocate memory", "Cannot allocate memory", "not enough memory", "out of memory"),
    "Unable to allocate",
)
"""Messages of PyTorch, CUDA, NumPy and the system when memory runs out."""
NO_SUCH_KEY = re.compile(r"Interpolation key '([\w.]+)' not found")
COLLATE = "torch.utils.data._utils.collate"
SMALLER = "Make data.batch_size, the images or the network smaller."


def explain(error: Exception, command: Command | None = None) -> str | None:
    """Explain in one or two lines what the user should fix; None if the user cannot fix it.

    Args:
        error: whatever was raised.
        command: that was given, to tell which options and words it takes.
    """
    cause, conf = error.__cause__, command.conf if command else None
    if isinstance(error, UserError):
        return str(error)
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, which need not be imported here
        return _first_line(error)
    if isinstance(error, MissingConfigException):
        return _no_such_option(error, conf)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return _no_such_key(cause, command)
    if isinstance(error, MissingMandatoryValue) and error.full_key == "checkpoint":
        return "checkpoint is missing: give checkpoint=last (the newest run), or checkpoint=RUN_FOLDER"
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing: give {error.full_key}=VALUE; --help {error.full_key} says which"
    if isinstance(error, InterpolationKeyError | InterpolationResolutionError):
        lacking = NO_SUCH_KEY.match(_first_line(error))
        first = f"Set {lacking[1]}, to which it refers, or give" if lacking else "Give"
        return f"{error.full_key} refers to another value: {_first_line(error)}\n{first} {error.full_key}=VALUE"
    if isinstance(error, ConfigCompositionException) and (found := NO_GROUP.match(str(error))):
        given = next((word for word in sys.argv[1:] if word.split("=")[0] == found[1]), found[1])
        unless = " without sweeper=optuna" if found[1].startswith("sweeper/") else ""
        return f"{shown(given)} is refused: this command has no group {found[1]}{unless}"
    if isinstance(error, ConfigCompositionException) and (found := SEVERAL.match(str(error))):
        values = found[1].partition("=")[2]
        return (
            f"{shown(found[1])} is refused: these are several values, and there is no -m\n"
            f"Add -m to run the command once with each. Where a key takes a list, write it as [{shown(values)}]."
        )
    if isinstance(error, OverrideParseException):
        return f"{shown(error.override)} is refused: {_instead_of(error.override)}"
    if isinstance(error, yaml.YAMLError):
        return _no_yaml(error)
    if isinstance(error, UnicodeEncodeError) and _raised_in(error, ("yaml",)):
        return f"{shown(error.object)} is not in UTF-8, and config.yaml cannot hold it: rename the file or folder"
    scarce = isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    if scarce or isinstance(error, MemoryError):
        return f"There is not enough memory: {_first_line(error) or 'Python has none left'}\n{SMALLER}"
    if not isinstance(error, HydraException | OmegaConfBaseException | OSError) and _raised_in(error, COMPOSES):
        return _no_option(error, conf)
    if isinstance(error, HydraException | OmegaConfBaseException):
        text = f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return "\n".join(shortened(shown(line)) for line in lines[:2])
    if isinstance(error, RuntimeError) and (operation := NOT_DETERMINISTIC.match(str(error))):
        return f"{operation[1]} has no deterministic algorithm, and only those are allowed: add deterministic=false"
    # a process that loads samples sends its traceback as text
    if _raised_in(error, (COLLATE,)) or "in default_collate\n" in str(error):
        return (
            f"A batch cannot be made of these samples: {shortened(str(error).strip().splitlines()[-1])}\n"
            "Make all samples tensors of the same shape, or give their loader a collate_fn."
        )
    if (of_disk := disk_error(error)) is not None:
        place = shown(str(of_disk.filename or ("standard output" if drop_failed_stdout() else "file")))
        return f"{place}: {of_disk.strerror}. Choose another place, or check its free space and permissions."
    return None


def _instead_of(word: str) -> str:
    """Return what to write in place of a word that Hydra cannot read."""
    if f"{word}=" in OF_RECORDED[:2]:
        return f"write {word}=last, or {word}=RUN_FOLDER"
    special = ", and quote a value with special characters: 'KEY=\"a, b\"'" if "=" in word else ""
    return f"write KEY=VALUE{special}"


def disk_error(error: Exception) -> OSError | None:
    """Return the disk error that the user can fix, such as a full disk, which `error` is or comes from; else None."""
    # torch.save fails again when it closes the file, and raises that error
    found = error.__context__ if isinstance(error, RuntimeError) else error
    return found if isinstance(found, OSError) and found.errno in FIXABLE else None


@contextmanager
def user_errors(command: Command | None = None, typed: Mapping[str, str] | None = None) -> Iterator[None]:
    """Print errors that the user can fix in a line or two, and end with status 2; let all others through.

    Args:
        command: that was given, to tell which options and words it takes.
        typed: words of the command line by the keys for which they stand; a message about another key begins with the
            word.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        text = explain(error, command)
        if text is None:
            raise
        if SHOW_TRACEBACK:
            traceback.print_exception(error)
        key = text.partition("=")[0]
        if (word := (typed or {}).get(key)) and word.partition("=")[0] != key:
            text = f"{shown(word)}: {text}"
        with suppress(OSError):  # of a full disk
            print("error:", printable(text, kept="\n"), file=sys.stderr, flush=True)  # noqa: T201
        raise SystemExit(EXIT_USER_ERROR) from None


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Add this folder to a disk error that names no file, such as one from a file that was already open."""
    try:
        yield
    except Exception as error:
        if (of_disk := disk_error(error)) is not None and of_disk.filename is None:
            of_disk.filename = "standard output" if drop_failed_stdout() else str(folder)
        raise


def one_line(error: BaseException) -> str:
    """Return the end of a traceback: the type of the exception, and the first line of its message."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")


def _no_such_option(error: MissingConfigException, conf: Path | None) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    if not options and group:  # for several, as in logger=[a,b], Hydra does not list them
        options = _options(group, conf)
    if not group or not options:
        return str(error).splitlines()[0]
    there_is = f"there is no such option{did_you_mean(name, options)}\n{allowed_options(options, group, conf)}"
    return f"{group}={shown(name)} is refused: {there_is}"


def _options(group: str, conf: Path | None) -> list[str]:
    return sorted({file.stem for folder in (conf, CONF) if folder for file in (folder / group).glob("*.yaml")})


def allowed_options(options: Sequence[str], group: str, conf: Path | None) -> str:
    """Return the line that lists options; an installed package reads them from a folder where nobody would look."""
    allowed = f"allowed: {', '.join(options)}"
    if conf is None or not (conf.parent / "__init__.py").is_file():
        return allowed
    return f"{allowed} (of {conf / group}; --config-dir=DIR adds those of DIR/{group})"


def _no_option(error: Exception, conf: Path | None) -> str:
    """Explain which group has a value that is no name, such as model=null or logger=[1]; Hydra does not say it."""
    try:
        overrides = OverridesParser.create().parse_overrides([word for word in sys.argv[1:] if "=" in word])
    except HydraException:
        overrides = []
    for override in overrides:
        value = override.value()
        names = value if isinstance(value, list) else [value]
        if not all(isinstance(name, str) for name in names) and (options := _options(override.key_or_group, conf)):
            allowed = allowed_options(options, override.key_or_group, conf)
            return f"{shown(override.input_line)} is refused: give the name of an option\n{allowed}"
    return f"These words, or a defaults list in a file, cannot be composed: {_first_line(error)}"


def _raised_in(error: Exception, modules: tuple[str, ...]) -> bool:
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1]).startswith(modules)


def _no_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"A configuration file is not YAML: {_first_line(error)}"
    why = getattr(error, "problem", None) or getattr(error, "context", None) or "it cannot be read"
    name = shown(str(Path(mark.name))) if mark.name else "a value"
    tab = " (indent with spaces, not tabs)" if _is_tab(mark) else ""
    return f"{name}, line {mark.line + 1}, column {mark.column + 1}: not YAML: {shown(why)}{tab}"


def _is_tab(mark: yaml.Mark) -> bool:
    try:
        line: str = Path(mark.name).read_text(encoding="utf-8").split("\n")[mark.line]
    except (OSError, ValueError, IndexError):  # a word of the command line has no file
        return False
    return line[mark.column :].startswith("\t")


def _first_line(error: Exception) -> str:
    return shortened(shown(next(iter(str(error).splitlines()), "")))


def _no_such_key(error: OmegaConfBaseException, command: Command | None) -> str:
    key = str(error.full_key)
    parent, _, name = key.rpartition(".")
    given = next((word for word in sys.argv[1:] if f"{word.partition('=')[0]}.".startswith(f"{key}.")), key)
    siblings = sorted(map(str, error.parent_node)) if error.parent_node is not None else []
    siblings = [sibling for sibling in siblings if sibling not in ("hydra", *SET_BY_THE_PROGRAM)]
    where = f"keys of {parent}" if parent else "keys"
    allowed = f"\n{where}: {', '.join(siblings)}" if siblings else ""
    if key == "checkpoint" and command and command.resumes:
        return (
            f"{shown(given)} is refused: this command takes no checkpoint\nresume=RUN_FOLDER continues a run, "
            "from=RUN_FOLDER repeats it, model.init_from=FILE begins with the weights of a checkpoint"
        )
    of_folders = [] if parent else [word.removesuffix("=") for word in OF_RECORDED]
    similar = did_you_mean(name, siblings + of_folders)
    root = error.parent_node._get_root() if error.parent_node is not None else None
    if not similar and isinstance(root, DictConfig) and (text := instead(given, key, root, command)):
        return text
    return f"{shown(given)} is refused: there is no such key{similar}{allowed}"
