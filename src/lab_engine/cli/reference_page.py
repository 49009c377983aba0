"""The configuration reference: a page in Markdown with every group, option and key, for the site."""

import re
from collections.abc import Iterator

from lab_engine.cli.reference import (
    Key,
    Option,
    commands_of,
    folders_of,
    groups_of,
    keys_of,
    keys_of_command,
    meaning_of,
    options_of,
)

INTRODUCTION = """\
# Options and keys

Every option and every key of the commands. This page is made from the files in `conf` and `src/lab_engine/conf`, and
from the schema that checks them.

| word on the command line | does |
| --- | --- |
| `GROUP=OPTION` | chooses an option: the file `conf/GROUP/OPTION.yaml` |
| `GROUP=[ONE,OTHER]` | chooses several options of a group of named objects, such as `callbacks` |
| `GROUP.KEY=VALUE` | sets a key of the chosen option |
| `+GROUP.KEY=VALUE` | adds a key that the option's file does not have |
| `~GROUP.KEY` | removes a key |

In a file, `_target_` names a class or function, and the other keys are its arguments; with `_partial_: true` the
program adds the rest of them later. `from_data` stands for a fact that only the data know, such as the size of the
images, `${KEY}` for the value of another key, and `null` for none.
"""


PARTS = ("common", "evaluate")
"""Folders with parts of other options, which nobody chooses by name."""


def page(package: str) -> str:
    """Return the page of a project, with definition lists."""
    folders = folders_of(package)
    lines = [INTRODUCTION, "## Commands", "", "Keys of a command that belong to no group."]
    for command in commands_of(package):
        lines += ["", f"### python -m {package}.{command}"]
        for key in keys_of_command(command, package):
            lines += _entry(key.name, _meaning(key), _default(key, alone=True))
    lines += ["", "## Groups"]
    for group in groups_of(folders):
        if group.partition("/")[2] in PARTS:
            continue
        options = options_of(group, folders)
        with_keys = [option for option in options if option.values or option.target]
        lines += ["", f"### {group}", "", _sentence(meaning_of(group, package))]
        for option in options:
            lines += _entry(f"{group}={option.name}", *_about(option, group))
        keys = keys_of(group, package)
        lines += ["", f"Keys of {group}:"] if keys else []
        for key in keys:
            alone = "." in key.name or len(key.defaults) == len(with_keys)
            lines += _entry(key.name.replace("*", "NAME"), _meaning(key), _default(key, alone))
    return "\n".join([*lines, ""])


def _entry(term: str, *paragraphs: str) -> list[str]:
    return ["", f"`{term}`", *(f": {text}" for text in paragraphs)]


def _meaning(key: Key) -> str:
    return f"{_sentence(key.meaning)} Allowed: {_text(key.allowed)}."


def _default(key: Key, alone: bool) -> str:
    """Return the default in each option; one that is the same in all of them stands alone."""
    of_value = key.options_by_default
    named = [
        f"`{value}`" if alone and len(of_value) == 1 else f"`{value}` ({', '.join(of)})"
        for value, of in of_value.items()
    ]
    if list(of_value) == ["???"]:
        return "It must be given."
    return f"Default: {', '.join(named)}." if named else "Not set: add it with `+`."


def _about(option: Option, group: str) -> Iterator[str]:
    """Yield what an option is, its class, and what it sets elsewhere."""
    joined = re.sub(r"\n(?!\w+ {2,})", " ", option.comment)  # a paragraph for each of Purpose, Command, …
    for line in joined.split("\n"):
        yield _sentence(re.sub(r" {2,}", " ", re.sub(r"^(\w+) {2,}", r"\1: ", line)))
    if option.target:
        yield f"Class: `{option.target}`"
    chosen = [f"`{name}={f'[{value}]' if ',' in value else value}`" for name, value in option.chosen.items() if value]
    others = [key for key in option.values if option.everywhere and not key.startswith(f"{group}.")]
    if chosen or others:
        yield f"It sets {', '.join([*chosen, *(f'`{key}={option.values[key]}`' for key in others)])}."


def _sentence(text: str) -> str:
    first = text[:1] if re.match(r"[\w, ]+:", text) else text[:1].upper()  # but for a value or an option with its colon
    return _text(f"{first}{text[1:]}{'' if text.endswith('.') else '.'}")


def _text(text: str) -> str:
    """Return text with the signs of Markdown escaped, but for code in backticks."""
    parts = text.split("`")
    escaped = (part if number % 2 else re.sub(r"([|*_<\[\]$~])", r"\\\1", part) for number, part in enumerate(parts))
    return "`".join(escaped)
