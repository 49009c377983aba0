"""Words that stand for values which follow from the data or the run: `from_data`, `run_length`."""

from collections.abc import Iterator, Mapping
from typing import Any

from lab_engine.base.errors import UserError

FROM_DATA = "from_data"
"""As the value of a key, it stands for the fact of the data that has the key's name."""

RUN_LENGTH = "run_length"
"""As a value in `conf/scheduler`, it stands for the length of the run, in steps or epochs as `interval` says."""


def find_from_data(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys whose value is `from_data`."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from find_from_data(value, (*path, str(key)))
    elif isinstance(node, list):
        for value in node:
            yield from find_from_data(value, path)
    elif node == FROM_DATA:
        yield path


def plain_fact(name: str, value: Any) -> Any:
    """Return a fact as plain data, for a checkpoint: numbers of NumPy and PyTorch become Python's.

    Args:
        name: of the fact, for the message.
        value: what the data have returned.

    Raises:
        UserError: it is neither a number, text, true, false or null, nor a list of them.
    """
    if isinstance(value, tuple | list):
        return [plain_fact(name, each) for each in value]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if type(value) not in (int, float, str, bool, type(None)):
        raise UserError(
            f"The data's fact {name} is a {type(value).__name__}, which a checkpoint cannot keep.\n"
            "Let model_arguments() return a number, a text, or a list of them."
        )
    return value


def split_facts(node: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate the keys of a part whose value is `from_data`, and fill in the facts deeper in the other keys.

    A fact may be any text, such as the name of a class; Hydra would read `${…}` in it as an interpolation.

    Returns:
        The other keys, and the facts by their keys.

    Raises:
        KeyError: there is no such fact.
    """
    own = {key: facts[key] for key, value in node.items() if value == FROM_DATA}
    return {key: _filled(value, facts, key) for key, value in node.items() if key not in own}, own


def _filled(node: Any, facts: Mapping[str, Any], name: str) -> Any:
    if isinstance(node, Mapping):
        return {key: _filled(value, facts, str(key)) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, facts, name) for value in node]
    return _escaped(facts[name]) if isinstance(node, str) and node == FROM_DATA else node


def _escaped(fact: Any) -> Any:
    if isinstance(fact, list):
        return [_escaped(each) for each in fact]
    return fact.replace("${", "\\${") if isinstance(fact, str) else fact
