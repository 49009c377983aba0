"""`--help GROUP` and `--help KEY`: options, keys, their defaults, and what is allowed."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from lab_engine.base.errors import UserError
from lab_engine.base.imports import import_quickly
from lab_engine.base.wording import did_you_mean, shown
from lab_engine.config.check import descriptions
from lab_engine.config.command import Command
from lab_engine.config.command_line import SET_BY_THE_PROGRAM
from lab_engine.config.first_tries import WHOLE
from lab_engine.sweeps import schema

WIDTH = 80
FILLS = ("defaults", "hydra", *SET_BY_THE_PROGRAM)
"""Keys of files that a user does not set."""


@dataclass(frozen=True)
class Key:
    """A key as a file has it.

    Attributes:
        name: from the first part on, such as "lr" or "dashboard.share".
        value: as written in the file.
        comment: that follows it in the file.
    """

    name: str
    value: str
    comment: str


def group_help(command: Command, topic: str, folders: Sequence[Path]) -> str:
    """Return what there is to know about a group or a key.

    Args:
        command: whose group or key.
        topic: its name; of a key, with the group before the dot, or a short form.
        folders: of the YAML files: the project's, the engine's, and the user's own if there is one.

    Raises:
        UserError: there is no such group or key.
    """
    topic = command.short.get(topic, topic)
    allowed = dict(descriptions(schema.SearchConfig)) | dict(descriptions(_schema(command)))
    main = folders[0] / f"{command.name}.yaml"
    chosen = dict(_chosen(main))
    group, _, name = topic.partition(".")
    groups = {path.name for folder in folders for path in folder.iterdir() if path.is_dir() and path.name in chosen}
    plain = {key.name: {"": key} for key in _keys(main) if "." not in key.name and key.name not in groups}
    if group in plain and not name:
        return "\n".join(_about(group, plain[group], [""], allowed))
    if group not in groups:
        known = [*groups, *plain, *command.short]
        raise UserError(
            f"--help {shown(topic)} is refused: {command.name} has no such group or key{did_you_mean(topic, known)}\n"
            f"groups: {', '.join(sorted(groups))}"
        )
    files = {file.stem: file for folder in folders for file in sorted((folder / group).glob("*.yaml"))}
    found: dict[str, dict[str, Key]] = {}
    for option, file in files.items():
        for key in _with_defaults(file):
            found.setdefault(key.name, {})[option] = key
    if not name:
        indent = max(map(len, files)) + 4
        change = f"; {group}.KEY=VALUE changes a key" if found else ""
        lines = [f"{group}=OPTION chooses one of these{change}:", ""]
        for option, file in sorted(files.items()):
            text = f"{_purpose(file)}{' (the default)' if option in chosen[group] else ''}"
            lines += textwrap.wrap(
                text, WIDTH, initial_indent=f"  {option}".ljust(indent), subsequent_indent=" " * indent
            )
        for each, keys in sorted(found.items()):
            lines += ["", *_about(f"{group}.{each}", keys, list(files), allowed)]
        return "\n".join(lines)
    if name not in found:
        near = did_you_mean(name, found)
        raise UserError(
            f"--help {shown(topic)} is refused: no option of {group} has this key{near}\n"
            f"keys: {', '.join(sorted(found))}"
        )
    return "\n".join(_about(topic, found[name], list(files), allowed))


def _schema(command: Command) -> type[BaseModel]:
    """Return the schema of a command: `TrainConfig` in `schema.py` of the project is that of train."""
    name = f"{command.name.title().replace('_', '')}Config"
    found: type[BaseModel] = getattr(import_quickly(f"{command.package}.schema"), name, None) or getattr(schema, name)
    return found


def _about(key: str, found: Mapping[str, Key], options: Sequence[str], allowed: Mapping[str, str]) -> Iterator[str]:
    """Yield the key, what is allowed, and its default in each option."""
    group, _, name = key.partition(".")
    text = allowed.get(key) or allowed.get(f"{group}.*.{name.partition('.')[2]}") or ""
    comment = next((each.comment for each in found.values() if each.comment), "")
    said = {*re.findall(r"\w+", text)}
    told = {*re.findall(r"\w+", comment)}
    if len(told - said) > len(told) / 2:  # else it is the same in other words
        text = comment if comment.startswith(text) else f"{text}; {comment}"
    yield key
    defaults: dict[str, list[str]] = {}
    for option, each in found.items():
        defaults.setdefault(each.value, []).append(option)
    everywhere = len(defaults) == 1 and len(found) == len(options)
    default = "; ".join(
        ("must be given" if value == "???" else value) + ("" if everywhere else f" with {', '.join(names)}")
        for value, names in defaults.items()
    )
    for line in (text, f"default: {default}"):
        yield from textwrap.wrap(line, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _purpose(file: Path) -> str:
    """Return the first sentence of the comment at the beginning of a file."""
    lines = file.read_text(encoding="utf-8").removeprefix(f"{WHOLE}\n").splitlines()
    comment = " ".join(line[2:].strip() for line in takewhile(lambda line: line.startswith("# "), lines))
    return re.split(r"(?<=\.) ", comment.removeprefix("Purpose").strip())[0]


def _chosen(main: Path) -> Iterator[tuple[str, list[str]]]:
    for entry in yaml.safe_load(main.read_text(encoding="utf-8"))["defaults"]:
        if isinstance(entry, dict):
            for group, options in entry.items():
                yield group, options if isinstance(options, list) else [options]


def _with_defaults(file: Path) -> Iterator[Key]:
    """Yield the keys of a file and of those that its defaults list puts into the same place."""
    text = file.read_text(encoding="utf-8")
    if text.startswith(WHOLE):  # it may set keys of other groups, too
        start = f"{file.parent.name}."
        yield from (
            replace(key, name=key.name.removeprefix(start)) for key in _keys(file) if key.name.startswith(start)
        )
        return
    content = yaml.safe_load(text)
    for entry in content.get("defaults", ()) if isinstance(content, dict) else ():
        if isinstance(entry, str) and (other := file.parent / f"{entry.partition('@')[0]}.yaml").is_file():
            yield from _with_defaults(other)
    yield from _keys(file)


def _keys(file: Path) -> Iterator[Key]:
    text = file.read_text(encoding="utf-8")
    yield from _keys_of(yaml.compose(text, yaml.SafeLoader), text.splitlines(), "")


def _keys_of(node: Any, lines: Sequence[str], prefix: str) -> Iterator[Key]:
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if name.value.startswith("_") or (not prefix and name.value in FILLS):
            continue
        first, last = name.start_mark.line, value.end_mark.line
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _keys_of(value, lines, f"{prefix}{name.value}.")
            continue
        written = lines[first][value.start_mark.column : value.end_mark.column] if last == first else _one_line(value)
        yield Key(f"{prefix}{name.value}", written, _comment(lines, first, name.start_mark.column))


def _one_line(node: Any) -> str:
    return f"[{', '.join(each.value for each in node.value)}]" if isinstance(node, yaml.SequenceNode) else node.value


def _comment(lines: Sequence[str], number: int, indent: int) -> str:
    """Return the comment behind a key, with the lines below that continue it."""
    found = re.search(r"(?<=\s)# (.*)", lines[number])
    if found is None:
        return ""
    parts = [found[1]]
    for line in lines[number + 1 :]:
        if not (more := re.fullmatch(r"\s+# (.*)", line)) or more.start(1) <= indent + 2:
            break
        parts.append(more[1])
    return " ".join(parts)
