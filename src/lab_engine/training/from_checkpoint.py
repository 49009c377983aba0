"""A trained task again, from its checkpoint."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import hydra
import torch
from hydra.errors import ConfigCompositionException, InstantiationException, MissingConfigException
from lightning.pytorch import LightningModule
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel

from lab_engine.artifacts.checkpoint import NOT_KEPT, CheckpointMetadata, load_weights, read_metadata
from lab_engine.base.errors import UserError
from lab_engine.base.quoting import shell_word
from lab_engine.base.wording import shown
from lab_engine.config.check import form_of
from lab_engine.config.explain import NO_GROUP
from lab_engine.config.facts import find_from_data
from lab_engine.config.schema import METRIC
from lab_engine.config.taken import OF_THE_PROGRAM
from lab_engine.training.build import OF_TASK, build_task
from lab_engine.training.pretrained import OF_MODEL

OPTION = "evaluate/from_checkpoint"
LEFT_OPEN = ("root", "cache", "eval_batch_size")
"""Keys that are null in `conf/data/evaluate/from_checkpoint.yaml`: as the checkpoint and its option say."""
A_METRIC = r"(train|val|test)(/\w[\w .-]*)+"


def checkpoint_path(config: dict[str, Any]) -> Path:
    """Return `config["checkpoint"]`, which nobody has checked yet, as a path.

    Raises:
        UserError: it is none.
    """
    given = config.get("checkpoint")
    if not isinstance(given, str) or not given:
        raise UserError(f"checkpoint={shown(given)} is refused: give the path of a .ckpt file")
    return Path(os.path.expanduser(given)).absolute()  # noqa: PTH111 - Path's own refuses a name such as ~x


def fill_in(
    config: dict[str, Any],
    path: Path,
    schema: type[BaseModel],
    owners: Sequence[str] = ("task", "data"),
    words: Sequence[str] = (),
) -> None:
    """Fill in what a checkpoint says of the task, the data and what they take.

    The checkpoint names options and gives plain values to their keys. The options' own files, on this machine, say what
    is made: nothing in a checkpoint can name code to run. An option given on the command line stands as it is.

    Args:
        config: of a command that reads checkpoints, resolved; it is changed.
        path: of the checkpoint.
        schema: of the configuration; it says which texts are choices of the program's own.
        owners: of the parts that are needed: "task", "data".
        words: for Hydra, which says where options are.

    Raises:
        UserError: it is no checkpoint, or its options are not those of this machine.
    """
    metadata = read_metadata(path)
    composed = _recompose(metadata, config, path, words)
    for owner in owners:
        _fill(config, owner, composed, metadata, path, schema)
        for group in config[owner].get("takes", ()):
            if group in composed and not isinstance(composed[group], DictConfig):
                if owner == "task" and group in metadata.values:  # a plain value, such as the seed
                    config.setdefault(group, metadata.values[group])
                continue
            _fill(config, group, composed, metadata, path, schema)
    taken = {group for owner in owners for group in config[owner].get("takes", ())}
    for group in [group for group, option in config["choices"].items() if option == OPTION]:  # of several, or not taken
        del config["choices"][group]
        if group not in taken:
            del config[group]
    _refuse_untaken(config, owners, path)


def _refuse_untaken(config: Mapping[str, Any], owners: Sequence[str], path: Path) -> None:
    """Refuse an option that was chosen on the command line, and that nobody takes."""
    taken = dict.fromkeys(group for owner in owners for group in config[owner].get("takes", ()))
    for group, option in config["choices"].items():
        if group not in taken and group not in OF_THE_PROGRAM:
            raise UserError(
                f"{group}={option} is refused: what checkpoint={path} was made of takes no {group}\n"
                f"It takes: {', '.join(taken) or 'nothing'}"
            )


def _recompose(metadata: CheckpointMetadata, config: dict[str, Any], path: Path, more: Sequence[str]) -> DictConfig:
    """Compose the training run anew from its words and options, and the files that this machine has."""
    given = {group for group, option in config["choices"].items() if option != OPTION}
    groups = {word.partition("=")[0] for word in metadata.words}
    choices = [f"{group}={option}" for group, option in metadata.choices.items() if group not in groups]
    words = [word for word in (*choices, *metadata.words) if word.partition("=")[0] not in given]
    try:
        return _compose([*words, *more])
    except MissingConfigException as error:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        raise UserError(
            f"checkpoint={path} was made with {group}={option}, which is not among the options here.\n"
            f"Name the folder of its file with --config-dir=DIR, or choose another with {group}=OPTION."
        ) from error
    except ConfigCompositionException as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"checkpoint={path} was made with options that do not fit together here: {reason}\n"
            "Name the folder of their files with --config-dir=DIR."
        ) from error


def _compose(words: list[str]) -> DictConfig:
    """Compose a training run; a group that is not among the defaults is added, as the user did with +GROUP=OPTION."""
    try:
        return hydra.compose("train", overrides=words)
    except ConfigCompositionException as error:
        found = NO_GROUP.match(str(error))
        added = [f"+{word}" if found and word.partition("=")[0] == found[1] else word for word in words]
        if added == words:
            raise
    return _compose(added)


def _fill(
    config: dict[str, Any],
    group: str,
    composed: DictConfig,
    metadata: CheckpointMetadata,
    path: Path,
    schema: type[BaseModel],
) -> None:
    given = config.get(group) or {}
    if config["choices"].get(group, OPTION) != OPTION:
        return
    if group not in composed:
        raise UserError(
            f"checkpoint={path} needs the group {group}, which is not among those here.\n"
            "Name the folder of its files with --config-dir=DIR."
        )
    own: dict[str, Any] = OmegaConf.to_container(composed[group], resolve=True)  # type: ignore[assignment]
    chosen = {key: value for key, value in given.items() if value is not None or key not in LEFT_OPEN}
    not_taken = {*NOT_KEPT, *chosen, *(OF_TASK if group == "task" else ())}
    if own.get("root", "???") != "???":  # where this machine keeps its downloads is not for the file to say
        not_taken.add("root")
    kept = {key: value for key, value in metadata.values.get(group, {}).items() if key not in not_taken}
    try:
        values = _with_values(own, kept, group)
        refuse_texts(kept, own, group, path, schema)
    except KeyError as error:
        option = metadata.choices.get(group, "…")
        raise UserError(
            f"checkpoint={path} has a setting {error.args[0]}, which {group}={option} here has not.\n"
            f"It was made with another version of that option: give the setting with +{error.args[0]}=VALUE."
        ) from error
    config[group] = {**values, **chosen}
    if group in metadata.choices:
        config["choices"][group] = metadata.choices[group]


def _with_values(own: dict[str, Any], values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Copy an option with other values for its plain keys; what is made stays as the option says.

    Numbers, true, false and null are taken for keys that the option has not, as a run can add them.

    Raises:
        KeyError: another value of such a key.
    """
    merged = dict(own)
    for key, value in values.items():
        if key not in own:
            if any(place[-1:] != (None,) for place, _ in _texts(value)):  # a name, as of parameters, is no value
                raise KeyError(f"{name}.{key}")
            merged[key] = value
        elif isinstance(own[key], dict) and isinstance(value, dict):
            merged[key] = _with_values(own[key], value, f"{name}.{key}")
        elif not isinstance(own[key], dict) and not _holds_parts(own[key]):
            merged[key] = value
    return merged


def _holds_parts(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, dict | list) for each in value)


def refuse_texts(
    recorded: Mapping[str, Any], own: Mapping[str, Any], group: str, path: Path, schema: type[BaseModel]
) -> None:
    """Refuse texts of a checkpoint that the option here has not: one may be an address, a file, or the name of code.

    Numbers, booleans and null are taken from a file, and so is a text where the schema lists what it may be or says
    that it names a metric.

    Args:
        recorded: values of the option's keys in the checkpoint.
        own: all keys of the option on this machine, with their values.
        group: of the option.
        path: of the checkpoint, for the message.
        schema: see `fill_in`.

    Raises:
        UserError: there is one; what to add to have it, or not to, is told.
    """
    for key, value in recorded.items():
        if key not in own:  # which was looked at before
            continue
        if {*_texts(value)} <= {*_texts(own[key])} or _is_choice(schema, group, key, value):
            continue
        there = group == "data" and key in LEFT_OPEN  # else the configuration of the command lacks the key
        name = f"{'' if there else '+'}{group}.{key}"
        cure = f"If you want it, add {shown(shell_word(name, value))}"
        if own[key] != "???":
            cure += f"; if not, {shown(shell_word(name, own[key]))} as it is here"
        raise UserError(
            f"checkpoint={path} was trained with {group}.{key}={shown(value)}, and no text is taken from a file.\n"
            f"{cure}."
        )


def _texts(value: Any, place: tuple[str | int | None, ...] = ()) -> Iterator[tuple[tuple[str | int | None, ...], str]]:
    """Return all texts in plain data, keys among them, each with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield (*place, key, None), key
            yield from _texts(part, (*place, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(part, (*place, number))


def _is_choice(schema: type[BaseModel], group: str, key: str, value: Any) -> bool:
    form = form_of(schema, group)
    field = None if form is None else form.model_fields.get(key)
    if field is None:
        return False
    if METRIC in field.metadata:
        return isinstance(value, str) and re.fullmatch(A_METRIC, value) is not None
    forms = [field.annotation, *get_args(field.annotation)]
    return any(get_origin(form) is Literal and value in get_args(form) for form in forms)


def build_trained(config: dict[str, Any], facts: Mapping[str, Any], path: Path) -> LightningModule:
    """Build the task of a checkpoint, with its weights; on the CPU.

    Raises:
        UserError: the weights do not fit it. This is found out before it takes memory, of which a file of a few bytes
            could ask for any amount.
    """
    if isinstance(model := config.get("model"), dict):  # all weights are in the checkpoint, and none is trained
        config = {**config, "model": {key: value for key, value in model.items() if key not in OF_MODEL}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that nothing is copied: on "meta" there is nothing
            outline = _outline(config, facts)
            if outline is not None:
                load_weights(outline, path)
        task = build_task(config, facts)
    except (RuntimeError, MemoryError, OverflowError, KeyError, InstantiationException) as error:
        cause = error.__cause__ or error
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)
        raise UserError(f"checkpoint={path}: the network that it asks for cannot be made: {reason}") from error
    load_weights(task, path)
    return task


def _outline(config: dict[str, Any], facts: Mapping[str, Any]) -> LightningModule | None:
    """Build a task without memory for its weights; None where its parts need their values to be built."""
    try:
        with torch.device("meta"):
            return build_task(config, facts)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, NotImplementedError) or "meta tensor" in str(cause):
                return None
            cause = cause.__cause__
        raise


def check_facts(config: dict[str, Any], facts: Mapping[str, Any], path: Path) -> None:
    """Refuse data that differ from those of the training in a fact that the task or what it takes depends on.

    Raises:
        UserError: they differ.
    """
    trained = read_metadata(path).facts
    groups = ("task", *config["task"].get("takes", ()))
    names = dict.fromkeys(key[-1] for group in groups for key in find_from_data(config.get(group)))
    for name in names:
        if name in trained and trained[name] != facts.get(name):
            raise UserError(
                f"checkpoint={path} was trained on other data.\n"
                f"Its {name}: {_listed(trained[name])}; of these data: {_listed(facts.get(name))}."
            )


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def load_offered(config: dict[str, Any], path: Path, view: str, kind: type, command: str, **chosen: Any) -> Any:
    """Build the task of a checkpoint, and return what its method `view` gives of it; on the CPU.

    Args:
        config: of the command.
        path: of the checkpoint.
        view: name of the method; it is given the facts of the data.
        kind: what it must return.
        command: for messages.
        chosen: more arguments of the method, which a task may lack.

    Raises:
        UserError: the task has no such method, or see `build_trained`.
    """
    facts = read_metadata(path).facts
    task = build_trained(config, facts, path)
    if not hasattr(task, view):
        raise UserError(
            f"checkpoint={path} is of a {type(task).__name__}, which has no method {view}(): {command} cannot use it.\n"
            "Add the method to its class; docs/tasks.md says what it returns."
        )
    method = getattr(task, view)
    if lacking := [key for key in chosen if key not in signature(method).parameters]:
        raise UserError(
            f"{view}() of {type(task).__name__} has no argument {lacking[0]}: {shown(chosen[lacking[0]])} cannot be "
            f"chosen for it.\nLeave it out, or add the argument to the method."
        )
    found = method(facts, **chosen)
    if not isinstance(found, kind):
        raise UserError(
            f"{view}() of {type(task).__name__} returns a {type(found).__name__}: {command} needs a {kind.__name__}.\n"
            "docs/tasks.md says how one is made."
        )
    return found
