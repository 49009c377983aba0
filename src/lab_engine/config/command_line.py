"""The words of a command line: checked, and in an order that Hydra reads."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra._internal import utils

from lab_engine.base.errors import UserError
from lab_engine.base.git import CREDENTIALS, MASKED
from lab_engine.base.wording import did_you_mean, shown
from lab_engine.config.config_dir import refuse_missing

COMMAND_VARIABLE = "LAB_ENGINE_COMMAND"
"""Environment variable that tells the processes of a run which command started it."""
MULTIRUN = ("-m", "--multirun")
ONLY_SHOW = ("--cfg", "-c", "--info", "-i")
SHOWS = (*ONLY_SHOW, "--hydra-help", "--version", "--shell-completion", "-sc")
"""Options with which nothing runs."""
EXCLUSIVE = (*SHOWS, *MULTIRUN, "--run", "-r")
"""Options of which Hydra accepts only one."""
CONFIG_DIR = ("--config-dir", "-cd")
REFUSED = "--experimental-rerun"
"""Hydra's option to load a pickle, which can run code."""
SET_BY_THE_PROGRAM = ("folder", "choices", "words", "config_dir")
CHOSEN_WITH = {
    "folder": "Choose the run folder with hydra.run.dir=DIR.",
    "config_dir": "Choose the folder with --config-dir=DIR.",
}
OF_RECORDED = ("resume=", "from=", "trust=")
"""Beginnings of the words about a run whose configuration lies in its folder (see `lab_engine.runs.recorded`)."""
OF_THE_SWEEP = ("launcher", "sweeper")
"""Groups that say how the jobs of a sweep run; they are not part of a job's configuration."""

CHOICE_PATTERN = r"[A-Za-z_]\w*=(\w+|\[\w+(,\w+)*\])"
"""Pattern of a word that chooses options of a group, as `augment=[flip,shift]`, or sets a plain top-level key."""


class UnknownOptionError(UserError):
    """There is no such option.

    Attributes:
        word: that names it.
        following: the next word; empty if there is none.
    """

    def __init__(self, text: str, word: str, following: str) -> None:
        super().__init__(text)
        self.word = word
        self.following = following


class _Parser(argparse.ArgumentParser):
    """A parser that accepts a help text of any type until it is shown."""

    def add_argument(self, *names: str, help: Any = None, **rest: Any) -> argparse.Action:  # noqa: A002 - argparse's
        action = super().add_argument(*names, **rest)
        action.help = help
        return action


def patch_hydra_parser() -> None:
    """Make Hydra's command line work on Python 3.14; call it before Hydra reads one.

    From 3.14 on argparse refuses a help text that is not a string. Hydra 1.3 gives --shell-completion an object that
    becomes text when it is shown. Only the name `argparse` in Hydra's own module is replaced, so other parsers are not
    changed. Hydra 1.4 does not need the patch, and works with it.
    """
    vars(utils)["argparse"] = SimpleNamespace(**{**vars(argparse), "ArgumentParser": _Parser})


def options_first(words: Sequence[str]) -> list[str]:
    """Return the words with options such as -m first: Hydra does not read KEY=VALUE words on both sides of one.

    Raises:
        UserError: an unknown option, one without its value, a key that the program sets, or a setting of sweeps
            without -m.
    """
    parser = utils.get_args_parser()
    actions = {option: action for action in parser._actions for option in action.option_strings if option != REFUSED}
    options: list[str] = []
    overrides: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, _ = word.partition("=")
        if not word.startswith("-") or word == "-":
            overrides.append(word)
            continue
        if name not in actions:
            raise UnknownOptionError(
                f"{shown(word)} is refused: there is no such option{did_you_mean(name, actions)}\n"
                f"options: {', '.join(option for option in actions if option.startswith('--'))}",
                word,
                next(iter(left), ""),
            )
        action = actions[name]
        options.append(word)
        if action.nargs is None and not equals:  # the others take no value, or one only if it is one of their choices
            if not left:
                raise UserError(f"{name} is refused without a value: give it as {name}=VALUE")
            options.append(left.pop(0))
        elif action.nargs == "?" and not equals and left and left[0] in (action.choices or ()):
            options.append(left.pop(0))
        value = options[-1].partition("=")[2] if equals else options[-1]
        if name in CONFIG_DIR:
            refuse_missing(value)
        if action.nargs is None and action.choices and value not in action.choices:
            raise UserError(f"{name}={shown(value)} is refused: give {', '.join(action.choices)}")
    given = dict.fromkeys(option.partition("=")[0] for option in options)
    for option in ("--resolve", "--package", "-p"):
        if option in given and given.keys().isdisjoint(ONLY_SHOW):
            raise UserError(f"{option} is refused without --cfg: it says how the configuration is shown")
    if len(ways := [option for option in given if option in EXCLUSIVE]) > 1:
        raise UserError(f"{' and '.join(ways)} are refused together: give one of them")
    several = not given.keys().isdisjoint((*MULTIRUN, *ONLY_SHOW))
    for word in overrides:
        _refuse(word, several)
    return [*options, *overrides]


def _refuse(word: str, several: bool) -> None:
    key, equals, value = word.lstrip("+~").partition("=")
    if not key and equals:
        raise UserError(f"{shown(word)} is refused: write KEY=VALUE, without spaces around =")
    if key.partition(".")[0] in SET_BY_THE_PROGRAM:
        cure = CHOSEN_WITH.get(key.partition(".")[0], "Leave it out.")
        raise UserError(f"{shown(word)} is refused: the program sets it. {cure}")
    if key == "hydra.mode":
        raise UserError(f"{shown(word)} is refused: leave it out; -m runs the command several times")
    if key in ("hydra.run.dir", "hydra.sweep.dir") and not value.strip("'\" "):
        raise UserError(f"{shown(word)} is refused: give a folder, or leave it out to get a new one")
    if key.partition(".")[0] in OF_THE_SWEEP and not several:
        raise UserError(f"{shown(word)} is refused without -m: it is a setting of sweeps. Add -m, or leave it out.")


def value_of_option(words: Sequence[str], *names: str) -> str | None:
    """Return the value of an option, given as `NAME VALUE` or `NAME=VALUE`; None if it is not given."""
    for number, word in enumerate(words):
        name, found, value = word.partition("=")
        if name in names:
            return value if found else next(iter(words[number + 1 :]), "")
    return None


def is_recorded(word: str) -> bool:
    """Return whether a word is `resume=`, `from=` or `trust=`, which are about a recorded run."""
    return word.lstrip("+~").startswith(OF_RECORDED)


def given_twice(overrides: Sequence[str]) -> list[str]:
    """Return a warning for each word whose key comes again later, because the last word of a key counts."""
    keys = [word.partition("=")[0].lstrip("+") for word in overrides]
    last = {key: number for number, key in enumerate(keys)}
    undone = [word for number, word in enumerate(overrides) if last[keys[number]] != number]
    return [f"warning: {shown(word)} is not used: the same key comes again after it" for word in undone]


def started_as() -> str:
    """Return the command that started this run, with short forms written out and without passwords in addresses."""
    words = [Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]]  # of a notebook or a script
    return os.environ.get(COMMAND_VARIABLE) or without_passwords(shlex.join(words))


def without_passwords(text: str) -> str:
    """Return the text with … in place of passwords in addresses: reports are passed on to other people."""
    return re.sub(CREDENTIALS, MASKED, text)
