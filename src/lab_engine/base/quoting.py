"""Values quoted for a command line, so that Hydra reads them as they are."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from lab_engine.base.wording import shown


def quoted(text: str) -> str:
    """Return `text` quoted so that Hydra reads no list, number, interpolation or sweep in it, whatever it holds."""
    plain = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # quotes alone do not prevent an interpolation
    return str(QuotedString(text=plain, quote=Quote.single).with_quotes())


def shell_word(key: str, value: Any) -> str:
    """Return KEY=VALUE quoted for a shell, from which Hydra reads this plain value."""
    return shlex.quote(override(key, value))


def override(key: str, value: Any) -> str:
    """Return KEY=VALUE, from which Hydra reads this plain value."""
    plain = isinstance(value, str) and _read(f"x={value}") == value
    return f"{key}={value if plain else _literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}: {_literal(each)}' for key, each in value.items())}}}"
    return f"[{','.join(map(_literal, value))}]" if isinstance(value, list) else shown(value)


def _read(override: str) -> Any:
    """Return the value that Hydra reads from a word, or None if Hydra cannot read it."""
    try:
        return OverridesParser.create().parse_override(override).value()
    except HydraException:
        return None


def readable(override: str) -> bool:
    """Return whether Hydra can read this word as KEY=VALUE."""
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def quote_paths(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return the words of a command line, with the values of these keys quoted where Hydra would misread a path.

    A value that exists as a path is quoted. Any other value that Hydra can read, such as a list, stays as it is.
    """
    return [_quote_path(word, keys) for word in words]


def _quote_path(word: str, keys: Sequence[str]) -> str:
    key, found, value = word.partition("=")
    if key not in keys or not found:
        return word
    if os.path.lexists(value):
        return f"{key}={quoted(str(Path(value).absolute()))}"  # ~x may be the name of a file
    if readable(word):
        return word
    if value.startswith("[") and value.endswith("]"):
        return f"{key}=[{','.join(quoted(each.strip()) for each in value[1:-1].split(','))}]"
    return f"{key}={quoted(value)}"
