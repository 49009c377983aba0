"""Short forms and folders on a command line, written out before Hydra reads them: only the long form is recorded."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lab_engine import CONF
from lab_engine.base.errors import UserError
from lab_engine.base.quoting import override
from lab_engine.base.wording import did_you_mean, did_you_mean_path, names_in, printable, shown
from lab_engine.config.command import Command
from lab_engine.config.command_line import CONFIG_DIR, MULTIRUN, value_of_option
from lab_engine.config.explain import allowed_options


def write_out(command: Command, words: Sequence[str]) -> list[tuple[str, str]]:
    """Return the words that Hydra reads, each with the word that the user typed for it.

    Args:
        command: declares its short forms, and the groups for which a folder may be given.
        words: of the command line, options included.

    Raises:
        UserError: a folder is not there.
    """
    return [(long, word) for word in words for long in _long_forms(command, word, words)]


def write_out_overrides(command: Command, overrides: Sequence[str], config_dir: str | Path | None) -> list[str]:
    """Return overrides as Hydra reads them; see `write_out`.

    Args:
        command: as for `write_out`.
        overrides: of the command line, without options.
        config_dir: value of `--config-dir`, or None.
    """
    own = [] if config_dir is None else [f"--config-dir={config_dir}"]
    return [long for long, _ in write_out(command, [*own, *overrides])][len(own) :]


def _long_forms(command: Command, word: str, words: Sequence[str]) -> Iterator[str]:
    key, found, value = word.partition("=")
    if found and key in command.short:
        yield f"{command.short[key]}={value}"
    elif found and key in command.folders and _is_folder(command, key, value, words):
        yield f"{key}={command.folders[key]}"
        yield override(f"{key}.root", value)
    else:
        yield word


def _is_folder(command: Command, group: str, value: str, words: Sequence[str]) -> bool:
    """Return whether a value means a folder; an option of the group with the same name comes first.

    Raises:
        UserError: it means a folder that is not there.
    """
    if not value or value[0] in "[{$\"'":
        return False
    own = value_of_option(words, *CONFIG_DIR)
    places = [command.conf, CONF, *([] if own is None else [Path(own)])]
    is_path = value[0] in "./~"
    if not is_path and any((place / group / f"{value}.yaml").is_file() for place in places):
        return False
    if Path(value).expanduser().is_dir():
        return True
    searched = any(word.startswith("hydra.searchpath=") for word in words)
    if not is_path and (searched or "," in value):
        return False
    if not is_path and "/" not in value:
        names = sorted({file.stem for place in places for file in (place / group).glob("*.yaml")})
        close = printable(did_you_mean(value, [*names, *(name for name in names_in(Path()) if Path(name).is_dir())]))
        raise UserError(
            f"{group}={shown(value)} is refused: there is no such option or folder{close}\n"
            f"{allowed_options([*names, 'or a folder'], group, command.conf)}"
        )
    given = f"{group}={shown(value)} is refused"
    if "," in value and {*MULTIRUN} & {*words}:
        option = f"{group}={command.folders[group]}"
        raise UserError(f"{given}: give one folder, or sweep over {group}.root with {option}")
    path = Path(value).expanduser()
    why = "it is a file" if path.exists() else f"there is no such folder{did_you_mean_path(path)}"
    raise UserError(f"{given}: {why}")
