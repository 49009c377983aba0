"""What the configuration offers: groups, their options, and every key with its default, meaning and allowed values.

All of it is read from the YAML files and from the schema; nothing is composed, and torch is not imported.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from lab_engine import CONF
from lab_engine.base.imports import import_quickly
from lab_engine.config.check import descriptions
from lab_engine.config.command import config_folder
from lab_engine.config.command_line import SET_BY_THE_PROGRAM
from lab_engine.config.facts import FROM_DATA, RUN_LENGTH
from lab_engine.sweeps import schema as sweeps

GLOBAL = "_global_"
OF_OBJECTS = ("_target_", "_partial_")
"""Keys of every object, which are not listed."""
NOT_LISTED = ("defaults", "hydra", *SET_BY_THE_PROGRAM)
"""Keys of a whole file that are not listed: Hydra's own, and those that the program sets."""
OBJECT = "an object with its _target_, or null"
WITH_MEANING = re.compile(r"([^()]+) \(((?:[^()]|\([^()]*\))+)\)")
"""A description such as `a number above 0 (learning rate)`: what is allowed, and in brackets the meaning."""
FOR = ", for "
"""Stands between a kind of value and the class that takes it."""
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "keys"}


@dataclass
class Option:
    """A file of a group.

    Attributes:
        name: as in GROUP=NAME.
        file: that defines it.
        comment: at the top of the file, its lines as they are.
        target: class or function that it names; empty if it names none.
        values: of its keys, as YAML, by names with dots. Those of an option that sets keys of several groups, such as
            one of `experiment`, begin with the group. The value of an object is its class.
        objects: names of those keys that are objects of a group of named ones.
        comments: on its keys, by the same names.
        chosen: options of other groups that it chooses, by group.
        of_groups: comments on these, by group.
        everywhere: it sets keys of several groups.
    """

    name: str
    file: Path
    comment: str = ""
    target: str = ""
    values: dict[str, str] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)
    comments: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)
    of_groups: dict[str, str] = field(default_factory=dict)
    everywhere: bool = False


@dataclass(frozen=True)
class Key:
    """A key of a group or of a command.

    Attributes:
        name: with dots, without the group.
        allowed: values in words, such as "a number above 0".
        meaning: with the unit, if it has one.
        defaults: value in each option that has the key, as YAML; empty for a key that no option has.
    """

    name: str
    allowed: str
    meaning: str
    defaults: Mapping[str, str]

    @property
    def options_by_default(self) -> dict[str, list[str]]:
        """Return the options that have each default, by default."""
        found: dict[str, list[str]] = {}
        for option, value in self.defaults.items():
            found.setdefault(value, []).append(option)
        return found


def schema_of(package: str, command: str) -> type[BaseModel]:
    """Return the schema of a command, a class that is named after it: `TrainConfig` of `train`."""
    name = "".join(word.capitalize() for word in command.split("_")) + "Config"
    own = import_quickly(f"{package}.schema")
    found: type[BaseModel] = getattr(own, name, None) or getattr(sweeps, name)
    return found


def commands_of(package: str) -> list[str]:
    """Return the names of a project's commands."""
    return sorted(file.stem for file in config_folder(package).glob("*.yaml"))


def folders_of(package: str) -> list[Path]:
    """Return the folders of YAML files: the project's, and the engine's."""
    return [config_folder(package), CONF]


def groups_of(folders: Sequence[Path]) -> list[str]:
    """Return the names of all groups, with slashes; those of Hydra are left out."""
    found = {file.parent.relative_to(folder).as_posix() for folder in folders for file in folder.rglob("*.yaml")}
    return sorted(name for name in found if name != "." and name.partition("/")[0] != "hydra")


def options_of(group: str, folders: Sequence[Path]) -> list[Option]:
    """Return the options of a group, sorted; of two files of one name, the first folder's."""
    files = {file.stem: file for folder in reversed(folders) for file in sorted((folder / group).glob("*.yaml"))}
    return [read_option(files[name]) for name in sorted(files)]


def meaning_of(group: str, package: str) -> str:
    """Return what is chosen in a group: the comment where `train`, or an option of the group above, chooses it."""
    above, _, name = group.rpartition("/")
    folders = folders_of(package)
    files = options_of(above, folders) if above else [read_option(folders[0] / "train.yaml")]
    return next((option.of_groups[name] for option in files if name in option.of_groups), "")


def keys_of(group: str, package: str, folders: Sequence[Path] = ()) -> list[Key]:
    """Return every key of a group: first those of its options, then others that the schema allows.

    Args:
        group: with slashes.
        package: of the project, whose schema describes the keys.
        folders: of the YAML files; by default the project's and the engine's.
    """
    options = options_of(group, folders or folders_of(package))
    described = dict([*descriptions(sweeps.SearchConfig), *descriptions(schema_of(package, "train"))])
    return _keys(options, f"{group.replace('/', '.')}.", described)


def keys_of_command(command: str, package: str) -> list[Key]:
    """Return the keys of a command that belong to no group, such as `seed`."""
    option = read_option(config_folder(package) / f"{command}.yaml")
    described = dict(descriptions(schema_of(package, command)))
    plain = {name for name in option.values if "." not in name and option.values[name] != "{}"} & described.keys()
    option.values = {name: value for name, value in option.values.items() if name in plain}
    return _keys([option], "", {name: text for name, text in described.items() if name in plain})


def read_option(file: Path) -> Option:
    """Read the file of an option; its keys include those of the files that its defaults list names.

    Raises:
        OSError: the file cannot be read.
        yaml.YAMLError: it is not YAML.
    """
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    header = _comment_block(lines)
    option = Option(file.stem, file, everywhere=f"# @package {GLOBAL}" in header)
    option.comment = "\n".join(line[2:] for line in header if not line.startswith("# @package"))
    root = yaml.compose(text, yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    for key, value in pairs:
        if key.value == "defaults":
            _read_defaults(option, yaml.safe_load(text)["defaults"])
            entries = [entry.value[0] for entry in value.value if isinstance(entry, yaml.MappingNode)]
            option.of_groups |= {group.value: _comment(lines, group, chosen, 0) for group, chosen in entries}
        elif key.value == "_target_":
            option.target = value.value
    for name, value, comment, is_object in _leaves(pairs, lines, len(header)):
        option.values[name] = value
        option.objects |= {name} if is_object else set()
        if comment:
            option.comments[name] = comment
    return option


def split_description(text: str) -> tuple[str, str]:
    """Return what a description allows and what it means; the meaning may be empty."""
    found = WITH_MEANING.fullmatch(text)
    return (found[1], found[2]) if found else (text, "")


def _read_defaults(option: Option, entries: Sequence[Any]) -> None:
    for entry in entries:
        if isinstance(entry, dict):
            option.chosen |= {
                group.removeprefix("override ").lstrip("/"): ", ".join(chosen) if isinstance(chosen, list) else chosen
                for group, chosen in entry.items()
            }
        elif entry != "_self_":
            name, _, place = entry.partition("@")
            other = read_option(option.file.parent / f"{name}.yaml")
            prefix = f"{place}." if place and place != "_here_" else ""
            option.target = option.target or other.target
            option.chosen |= other.chosen
            option.objects |= {f"{prefix}{key}" for key in other.objects}
            option.values |= {f"{prefix}{key}": value for key, value in other.values.items()}
            option.comments |= {f"{prefix}{key}": text for key, text in other.comments.items()}


def _comment_block(lines: Sequence[str]) -> list[str]:
    """Return the comment at the top of a file."""
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return list(lines[:end])


def _leaves(
    pairs: Sequence[tuple[yaml.Node, yaml.Node]], lines: Sequence[str], start: int, prefix: str = ""
) -> Iterator[tuple[str, str, str, bool]]:
    """Yield names with dots, values as YAML, comments, and whether it is an object, whose value is its class.

    `start` is the first line after the comment at the top.
    """
    for key, value in pairs:
        if key.value in OF_OBJECTS or (not prefix and key.value in NOT_LISTED):
            continue
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            target = next((each.value for own, each in value.value if own.value == "_target_"), None)
            if target is not None:
                yield name, target, _comment(lines, key, value, start), True
            yield from _leaves(value.value, lines, start, f"{name}.")
        else:
            yield name, _source(value, lines), _comment(lines, key, value, start), False


def _source(node: yaml.Node, lines: Sequence[str]) -> str:
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        return f"[{', '.join(_source(each, lines) for each in node.value)}]"
    first, last = node.start_mark, node.end_mark
    text: str = lines[first.line][first.column : last.column if last.line == first.line else None]
    return text.strip()


def _comment(lines: Sequence[str], key: yaml.Node, value: yaml.Node, start: int) -> str:
    """Return the comment on a key: behind it, with the lines that continue it, or else above it."""
    block = isinstance(value, yaml.CollectionNode) and not value.flow_style
    mark = key.end_mark if block or value.start_mark.line > key.end_mark.line else value.end_mark
    found = re.fullmatch(r":?\s*#\s*(.*)", lines[mark.line][mark.column :])
    number = mark.line + 1
    if found is None:
        number = first = key.start_mark.line
        while first > start and lines[first - 1].startswith(f"{' ' * key.start_mark.column}# "):
            first -= 1
        return " ".join(line.strip(" #") for line in lines[first:number])
    text = [found[1]]
    while number < len(lines) and re.match(rf" {{{key.start_mark.column + 1},}}#", lines[number]):
        text.append(lines[number].strip(" #"))
        number += 1
    return " ".join(text)


def _keys(options: Sequence[Option], prefix: str, described: Mapping[str, str]) -> list[Key]:
    values: dict[str, dict[str, str]] = {}
    comments: dict[str, dict[str, list[str]]] = {}
    kinds: dict[str, str] = {}
    for option in options:
        for name, value in option.values.items():
            if option.everywhere and not name.startswith(prefix):
                continue
            own = name.removeprefix(prefix) if option.everywhere else name
            values.setdefault(own, {})[option.name] = value
            target = option.values.get(name.rpartition(".")[0]) or option.target
            kind = OBJECT if name in option.objects else _kind(value, target)
            known = kinds.get(own) or kind
            of_several = known != kind and known.partition(FOR)[0] == kind.partition(FOR)[0]
            kinds[own] = known.partition(FOR)[0] if of_several else known
            whole = option.comment.partition("\n")[0] if option.objects == {name} else ""  # on its only object
            if text := option.comments.get(name, whole):
                comments.setdefault(own, {}).setdefault(text, []).append(option.name)
    for name in described:
        own = name.removeprefix(prefix)
        listed = (
            name.startswith(prefix) and re.fullmatch(r"(\*\.)?\w+", own) and own.removeprefix("*.") not in OF_OBJECTS
        )
        if listed and not any(fnmatchcase(each, own) for each in values):
            values[own] = {option.name: option.chosen[own] for option in options if own in option.chosen}
    return [
        _key(name, prefix, defaults, comments.get(name, {}), described, kinds.get(name, ""))
        for name, defaults in values.items()
    ]


def _key(
    name: str,
    prefix: str,
    defaults: dict[str, str],
    comments: Mapping[str, Sequence[str]],
    described: Mapping[str, str],
    kind: str,
) -> Key:
    text = described.get(f"{prefix}{name}") or described.get(f"{prefix}*.{name.partition('.')[2]}", "")
    allowed, meaning = split_description(text)
    if comments:
        several = len(comments) > 1
        meaning = "; ".join(f"{', '.join(of)}: {each}" if several else each for each, of in comments.items())
    return Key(name, allowed or kind, meaning, defaults)


def _kind(value: str, target: str) -> str:
    """Return in words what a key outside the schema takes, by a value in a file."""
    loaded, name = yaml.safe_load(value), target.rpartition(".")[2]
    if loaded == FROM_DATA:
        return "a value, or from_data"
    if loaded == RUN_LENGTH:
        return f"a whole number, or {RUN_LENGTH}"
    if loaded is None or str(loaded).startswith(("${", "???")):
        return f"an argument of {name}" if name else ""
    return f"{KINDS[type(loaded)]}{FOR}{name}" if name else KINDS[type(loaded)]
