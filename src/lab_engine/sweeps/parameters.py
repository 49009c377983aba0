"""The parameters of a sweep: the keys that vary, and the value of each in every job.

Values are plain data as in `config.yaml`. A job without a key, such as the momentum of Adam, has no value of it.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab_engine.config.command_line import SET_BY_THE_PROGRAM

Config = dict[str, Any]
"""As in `config.yaml`, but not checked: it may come from a stranger."""

Parameters = dict[str, Any]
"""Values by key, such as `{"optimizer.lr": 0.01, "model": "small"}`; a group's value is the name of its option."""

OVERRIDE = re.compile(r"(?:\+\+|\+|~)?(?P<key>[^@=]+)(?:@[^=]*)?=(?P<value>.*)", re.DOTALL)


def chosen(overrides: Sequence[Sequence[str]], configs: Sequence[Config | None]) -> list[Parameters]:
    """Return the parameters of jobs whose overrides are known, with values from their configurations.

    Args:
        overrides: of each job, as on the command line.
        configs: of each job; None: it cannot be read, and the values come from the overrides.
    """
    texts = [dict(_split(words)) for words in overrides]
    keys = dict.fromkeys(key for each in texts for key in each if not key.startswith("hydra."))
    jobs = [
        {key: found[0] for key in keys if (found := _value(key, text, config))}
        for text, config in zip(texts, configs, strict=True)
    ]
    varying = _varying(jobs)
    return [{key: job[key] for key in varying if key in job} for job in jobs]


def _split(words: Sequence[str]) -> Iterable[tuple[str, str]]:
    matches = filter(None, map(OVERRIDE.fullmatch, words))
    return ((match["key"], match["value"]) for match in matches)


def _value(key: str, text: Mapping[str, str], config: Config | None) -> list[Any]:
    """Return a list of the value of `key`, empty if the job has none."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part, ...) if isinstance(node, dict) else ...
    choices = (config or {}).get("choices")
    if isinstance(choices, dict) and key in choices:
        return [choices[key]]
    if node is ... or node is None or isinstance(node, dict):  # a group, or an experiment, which leaves no key
        if key in text:
            return [read_value(text[key])]
        if isinstance(node, dict):
            return [_option(node["_target_"])] if "_target_" in node else []
    folder = str((config or {}).get("folder", ""))
    return [] if node is ... else [_without_folder(node, folder)]


def read_value(text: str) -> Any:
    """Return the value of an override: what JSON makes of it, or else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _option(target: Any) -> str:
    return str(target).rpartition(".")[2]


def compared(configs: Sequence[Config | None]) -> list[Parameters]:
    """Return the parameters of jobs of which only the configurations are known.

    A group with different options, such as two networks, is one parameter: the name of the option or of the class. A
    key of such a group is a parameter only if it varies between jobs with the same option.
    """
    jobs = [dict(_leaves(config or {}, str((config or {}).get("folder", "")))) for config in configs]
    varying = _varying([job for job in jobs if job])
    sources = {key.removesuffix("._target_"): key for key in varying if key.endswith("._target_")}
    sources |= {key.removeprefix("choices."): key for key in varying if key.startswith("choices.")}
    result: list[Parameters] = [
        {group: _option(job[source]) if source in job else "none" for group, source in sources.items()}
        if job
        else {}  # its configuration cannot be read
        for job in jobs
    ]
    for key in varying:
        groups = [group for group in sources if key.startswith(f"{group}.")]
        alike: dict[str, list[Parameters]] = {}
        for job, labels in zip(jobs, result, strict=True):
            if job:
                alike.setdefault(canonical([labels[group] for group in groups]), []).append(job)
        if key.startswith("choices.") or not any(_varies(key, each) for each in alike.values()):
            continue
        for job, parameters in zip(jobs, result, strict=True):
            if key in job:
                parameters[key] = job[key]
    return result


def _leaves(node: Mapping[str, Any], folder: str, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield all keys with their values; the run folder, which differs between jobs, is cut out of paths."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _leaves(value, folder, f"{key}.")
        elif key not in SET_BY_THE_PROGRAM:
            yield key, _without_folder(value, folder)


def _without_folder(value: Any, folder: str) -> Any:
    """Return a value, a path into the run folder as one that is the same in each job."""
    return value.replace(folder, "") if isinstance(value, str) and folder else value


def _varying(jobs: Sequence[Parameters]) -> list[str]:
    """Return the keys with more than one value, or with none in some jobs, in the order of their first appearance."""
    return [key for key in dict.fromkeys(key for job in jobs for key in job) if _varies(key, jobs)]


def _varies(key: str, jobs: Sequence[Parameters]) -> bool:
    return len({canonical(job[key]) if key in job else None for job in jobs}) > 1


def canonical(value: Any) -> str:
    """Return plain data as JSON; equal data is equal text."""
    return json.dumps(value, sort_keys=True, default=str)


def text(value: Any) -> str:
    """Return a value as on the command line: null, true, 0.001, [32,32]."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)
