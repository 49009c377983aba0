"""Objects built from the configuration: what `_target_` names, called with the other keys."""

import fnmatch
import functools
import inspect
import logging
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from torch import nn
from torch.optim import Optimizer

from lab_engine.base.errors import UserError
from lab_engine.base.wording import did_you_mean, printable, shortened
from lab_engine.config.facts import split_facts
from lab_engine.config.hydra_version import ANY_TARGET
from lab_engine.config.schedule import Schedule

log = logging.getLogger(__name__)

UNKNOWN_ARGUMENT = re.compile(r"got an unexpected keyword argument '(\w+)'")

Config = dict[str, Any]

MAX_NAMES = 10  # of parameters, in a message


def build(node: Config, key: str, **arguments: Any) -> Any:
    """Call what `node["_target_"]` names with the rest of `node` and `arguments`.

    Args:
        node: plain configuration of one object.
        key: of the object in the configuration, for the message.
        arguments: those that do not come from the configuration.

    Raises:
        UserError: there is no such target, or it does not take these arguments.
    """
    try:
        if arguments and not node.get("_partial_"):  # Hydra would convert a dataclass among them
            made = instantiate({**node, "_partial_": True}, _convert_="all", **ANY_TARGET)(**arguments)
        else:
            made = instantiate(node, _convert_="all", **ANY_TARGET)
            made = functools.partial(made, **arguments) if arguments else made
        if isinstance(made, functools.partial):  # called later: find a wrong argument now
            inspect.signature(made.func).bind_partial(*made.args, **made.keywords)
    except Exception as error:
        cause = (error.__cause__ or error) if isinstance(error, InstantiationException) else error
        key, target = _failed(node, key, error)
        if isinstance(cause, UserError):
            raise cause from error
        if isinstance(cause, TypeError | ValueError | ImportError | AttributeError | InstantiationException) or (
            type(cause).__name__ == "MisconfigurationException"  # Lightning's, which need not be imported here
        ):
            if (unknown := UNKNOWN_ARGUMENT.search(str(cause))) and unknown[1] in node:
                similar = did_you_mean(unknown[1], _arguments(target))
                raise UserError(f"{key}.{unknown[1]} is refused: {target} has no such argument{similar}") from error
            raise UserError(f"{key} ({target}): {_missing(target) or _reason(cause)}") from error
        if isinstance(cause, OSError) and cause.filename is not None:  # for example a file of weights
            reason = f"{cause.strerror}: {printable(str(cause.filename))}"
            raise UserError(f"{key} ({target}) cannot read a file. {reason}") from error
        raise cause from None  # an error inside the target, raised as if it had been called directly
    return made


def _failed(node: Config, key: str, error: Exception) -> tuple[str, str]:
    """Return the key and the target of the object that could not be built: `node`, or a part of it."""
    said = str(error) if isinstance(error, InstantiationException) else ""
    full = "\n".join([said, *getattr(error, "__notes__", ())]).rpartition("full_key: ")[2]  # Hydra 1.4 adds a note
    parts = {re.sub(r"[][]", "", place): (key + place, target) for place, target in _targets(node)}
    plain = re.sub(r"[][]", "", full)  # Hydra 1.3 writes a[0].b as a0.b
    return parts.get(f".{plain}", (key, node["_target_"]))


def _targets(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the place of every `_target_` in a configuration, such as `.train.parts[0]`, and its value."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield place, value["_target_"]
        for name, each in value.items():
            yield from _targets(each, f"{place}.{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _targets(each, f"{place}[{number}]")


def _missing(target: str) -> str:
    """Explain why a target cannot be found; empty if it can."""
    package, name = target.partition(".")[0], target
    while "." in name:
        name = name.rpartition(".")[0]
        with suppress(ImportError, ValueError):
            if find_spec(name) is not None:
                lacks = target.removeprefix(f"{name}.").partition(".")[0]
                module = sys.modules.get(name)
                there = module is None or hasattr(module, lacks)
                return "" if there else f"there is no {lacks} in {name}{did_you_mean(lacks, vars(module))}"
    if package in sys.modules or package == target:
        return ""
    return (
        f"there is no module {package} on Python's path\n"
        f"Call the command in the folder that holds {package}, or put it into the folder that --config-dir names."
    )


def _arguments(target: str) -> Collection[str]:
    """Return the names of the arguments that a target takes; none of a function in C, whose names are not known."""
    try:
        return inspect.signature(get_object(target)).parameters.keys()
    except ValueError:
        return ()


def _reason(cause: BaseException) -> str:
    """Return a line: Python's own message if Hydra could not import the target, else the first line of the message."""
    while str(cause).startswith(("Error locating", "Error loading")) and cause.__cause__:
        cause = cause.__cause__
    lines = str(cause).splitlines()
    text = shortened(" ".join(lines if isinstance(cause, InstantiationException) else lines[:1]))
    own = type(cause).__name__ == "MisconfigurationException"
    named = own or isinstance(cause, TypeError | ValueError | ImportError | AttributeError | InstantiationException)
    return text if named and text else f"{type(cause).__name__}: {text}"


def build_each(nodes: dict[str, Config | None], key: str) -> dict[str, Any]:
    """Build the named parts of a group, in order; null switches one off."""
    return {name: build(node, f"{key}.{name}") for name, node in nodes.items() if node is not None}


def build_taken(config: Mapping[str, Any], owner: str, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Build what `config[owner]["takes"]` lists, in that order; see `build_part`.

    Args:
        config: whole.
        owner: "task" or "data".
        facts: what `from_data` stands for.

    Raises:
        UserError: see `build`.
    """
    return {name: build_part(config[name], name, facts) for name in config[owner].get("takes", ()) if name in config}


def _with_groups(
    make: Callable[..., Optimizer], groups: Mapping[str, Any], key: str, parameters: Iterable[tuple[str, nn.Parameter]]
) -> Optimizer:
    """Build an optimizer with groups of parameters that are chosen by name.

    Args:
        make: builds the optimizer from groups.
        groups: settings of each group, by a pattern of names such as `fc3.*`. The first pattern that fits counts;
            parameters that no pattern fits form one more group.
        key: of the optimizer in the configuration, for the message.
        parameters: of the network, with their names; those without gradients are left out.

    Raises:
        UserError: a pattern fits no name, or a group has a key that the optimizer does not have.
    """
    members: dict[str, list[tuple[str, nn.Parameter]]] = {pattern: [] for pattern in (*groups, "")}
    names = []
    for name, parameter in parameters:
        names.append(name)
        if parameter.requires_grad:
            pattern = next((each for each in groups if fnmatch.fnmatchcase(name, each)), "")
            members[pattern].append((name, parameter))
    for pattern in groups:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise UserError(
                f"{key}.groups has {pattern}, which fits no parameter.\nparameters: {', '.join(names[:MAX_NAMES])}"
            )
    made = [
        {**groups.get(pattern, {}), "name": pattern or "others", "params": each}
        for pattern, each in members.items()
        if each
    ]
    optimizer = make(made)
    allowed = optimizer.defaults.keys()
    for pattern, settings in groups.items():
        if unknown := next((name for name in settings if name not in allowed), None):
            raise UserError(
                f"{key}.groups has the key {unknown} for {pattern}, which {type(optimizer).__name__} does not have"
                f"{did_you_mean(unknown, allowed)}\nkeys: {', '.join(allowed)}"
            )
    if not members[""] and all("lr" in settings for settings in groups.values()):
        log.warning("%s.lr is not used: all trained parameters are in %s.groups, which sets their lr.", key, key)
    return optimizer


def build_part(value: Any, name: str, facts: Mapping[str, Any] | None = None) -> Any:
    """Build what the configuration has under a top-level key; `facts` are what `from_data` stands for.

    Returns:
        An object for a group with a `_target_`; a dictionary of them for a group of named parts, such as `augment`;
        None for an option that is empty; for a plain value, such as `seed`, the value. An optimizer still needs its
        parameters, but was tried on one; a learning-rate scheduler is a `Schedule`.

    Raises:
        UserError: see `build`.
    """
    if not isinstance(value, dict):
        return value
    if not value:
        return None
    if "_target_" not in value:
        return {key: build_part(part, f"{name}.{key}", facts) for key, part in value.items() if part is not None}
    if value.get("_partial_") and "interval" in value:
        arguments, of_data = split_facts(value, facts or {})
        arguments = {key: each for key, each in arguments.items() if key not in ("interval", "monitor")}
        return Schedule(build(arguments, name, **of_data), value["interval"], value.get("monitor"))
    groups = value.get("groups") if value.get("_partial_") else None
    node, of_data = split_facts(value, facts or {})
    made = build({key: each for key, each in node.items() if key != "groups" or groups is None}, name, **of_data)
    if groups is not None:
        made = functools.partial(_with_groups, made, groups, name)
    elif isinstance(made, functools.partial) and inspect.isclass(made.func) and issubclass(made.func, Optimizer):
        try:  # to refuse a wrong value before training starts
            made([nn.Parameter(torch.zeros(1))])
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{name} ({value['_target_']}): {error}") from error
    if name == "model" and not isinstance(made, nn.Module):
        raise UserError(f"model ({value['_target_']}) makes a {type(made).__name__}: give a torch.nn.Module.")
    return made
