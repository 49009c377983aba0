"""Names as words of a command line that Hydra takes for nothing else."""

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
    """Return `text` as a value of Hydra's: no list, number, interpolation or choice of several, whatever it holds."""
    plain = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # no interpolation
    return str(QuotedString(text=plain, quote=Quote.single).with_quotes())


def typed(key: str, value: Any) -> str:
    """Return KEY=VALUE as one types it in a shell, for Hydra to read this plain value from it."""
    plain = isinstance(value, str) and _read(f"x={value}") == value
    return shlex.quote(f"{key}={value if plain else _literal(value)}")


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}: {_literal(each)}' for key, each in value.items())}}}"
    return f"[{','.join(map(_literal, value))}]" if isinstance(value, list) else shown(value)


def _read(override: str) -> Any:
    """Return the value that Hydra reads in a word; None where it can read none."""
    try:
        return OverridesParser.create().parse_override(override).value()
    except HydraException:
        return None


def readable(override: str) -> bool:
    """Whether Hydra can read this word as KEY=VALUE."""
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def quote_paths(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return the words of a command line, with the values of these keys quoted where Hydra would read something else.

    What exists is meant as it is. All else that Hydra can read, such as a list, is left to it.
    """
    return [_quote_path(word, keys) for word in words]


def _quote_path(word: str, keys: Sequence[str]) -> str:
    key, found, value = word.partition("=")
    if key not in keys or not found:
        return word
    if os.path.lexists(value):
        return f"{key}={quoted(str(Path(value).absolute()))}"  # a name such as ~x is meant as it is
    if readable(word):
        return word
    if value.startswith("[") and value.endswith("]"):
        return f"{key}=[{','.join(quoted(each.strip()) for each in value[1:-1].split(','))}]"
    return f"{key}={quoted(value)}"
