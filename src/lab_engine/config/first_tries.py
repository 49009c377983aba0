"""Words that people try first, such as `--momentum 0.9` or `gpus=2`, answered with the word to type."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from lab_engine.base.errors import UserError
from lab_engine.base.wording import shown
from lab_engine.config.command import Command
from lab_engine.config.command_line import OF_RECORDED, SET_BY_THE_PROGRAM, UnknownOptionError
from lab_engine.config.hydra_version import BASE

WHOLE = "# @package _global_"
"""Beginning of a file that sets keys of all groups, such as a recipe."""
SYNONYMS = {
    "bs": "batch_size",
    **dict.fromkeys(("epoch", "nepochs", "numepochs"), "max_epochs"),
    **dict.fromkeys(("gpu", "gpus", "ngpus", "numgpus"), "devices"),
    "learningrate": "lr",
    "wd": "weight_decay",
    **dict.fromkeys(("nworkers", "workers"), "num_workers"),
}
"""Names of keys in other programs, and here."""


def instead(given: str, key: str, config: DictConfig, command: Command | None) -> str:
    """Return a message with the word to type in place of a key that does not exist; empty if there is none.

    Args:
        given: the word that is refused.
        key: that does not exist.
        config: composed, in which the keys are looked for.
        command: that refuses it; its short forms are told, and the options that have such a key.
    """
    group, _, name = key.rpartition(".")
    name = SYNONYMS.get(_plain(name), name)
    value = given.partition("=")[2]
    mappings = value.startswith("{")
    content: Any = OmegaConf.to_container(config, resolve=False)
    short = {key: word for word, key in command.short.items()} if command else {}
    keys = [f"{short.get(key, key)}={shown(value)}" for key in _keys_named(_plain(name), content, mappings)]
    if len(keys) == 1:
        return f"{shown(given)} is refused: write {keys[0]}"
    if keys:
        return f"{shown(given)} is refused: several keys have this name\nwrite one of {', '.join(keys)}"
    groups = [each for each in sorted(content) if group in ("", each)]  # that the command takes
    if others := list(_of_other_options(_plain(name), groups, command, mappings)):
        words = " or ".join(f"{each}={shown(value)}" for each in others)
        return f"{shown(given)} is refused: the chosen options have no such key\nothers have it: write {words}"
    return ""


def for_option(command: Command, error: UnknownOptionError) -> UserError:
    """Return what to answer to an option such as `--lr 0.1`: the word to type, or else the error itself."""
    option, found, value = error.word.partition("=")
    name = option.lstrip("-").replace("-", "_")
    if not found and error.following and not error.following.startswith("-") and "=" not in error.following:
        value = error.following
    given = error.word if found or not value else f"{option} {value}"
    with initialize_config_dir(str(command.conf), **BASE):
        config = compose(command.name)
    if name in {*command.short, *map(str, config)} - {*SET_BY_THE_PROGRAM} or (
        command.resumes and f"{name}=" in OF_RECORDED
    ):
        return UserError(f"{shown(given)} is refused: write {name}={shown(value or 'VALUE')}")
    text = instead(f"{name}={value or 'VALUE'}", name, config, command)
    return UserError(f"{shown(given)}{text[text.index(' is refused') :]}") if text else error


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _is_named(name: str, key: str, value: object, mappings: bool) -> bool:
    """Return whether a key has this plain name, and a value that can be set: a mapping only where one is given."""
    return _plain(key) == name and (mappings or not isinstance(value, Mapping))


def _keys_named(name: str, node: Any, mappings: bool, prefix: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, Mapping) else ():
        if prefix or key not in ("hydra", *SET_BY_THE_PROGRAM):
            if _is_named(name, str(key), value, mappings):
                yield f"{prefix}{key}"
            yield from _keys_named(name, value, mappings, f"{prefix}{key}.")


def _of_other_options(name: str, groups: Sequence[str], command: Command | None, mappings: bool) -> Iterator[str]:
    for file in [file for group in groups for file in sorted(command.conf.glob(f"{group}/*.yaml"))] if command else ():
        text = file.read_text(encoding="utf-8")
        content = {} if text.startswith(WHOLE) else yaml.safe_load(text)
        for key, value in content.items() if isinstance(content, dict) else ():
            if _is_named(name, str(key), value, mappings):
                yield f"{file.parent.name}={file.stem} {file.parent.name}.{key}"
