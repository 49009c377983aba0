"""Rebuild a trained task from its checkpoint."""

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
from lab_engine.config.schema import CHECKPOINT, METRIC
from lab_engine.config.taken import OF_THE_PROGRAM
from lab_engine.training.build import TASK_KEYS, build_task
from lab_engine.training.pretrained import OF_MODEL

LEFT_OPEN = ("root", "cache", "eval_batch_size", "predict")
"""Keys that are null in `conf/data/evaluate/from_checkpoint.yaml`: the recorded option or the checkpoint sets them."""
METRIC_NAME = r"(train|val|test)(/\w[\w .-]*)+"


def checkpoint_path(config: dict[str, Any]) -> Path:
    """Return `config["checkpoint"]` as an absolute path; whether the file exists is not checked.

    Raises:
        UserError: the value is not a path.
    """
    given = config.get("checkpoint")
    if not isinstance(given, str) or not given:
        raise UserError(f"checkpoint={shown(given)} is refused: give {CHECKPOINT}")
    return Path(os.path.expanduser(given)).absolute()  # noqa: PTH111 - Path.expanduser raises for a name such as ~x


def fill_in(
    config: dict[str, Any],
    path: Path,
    schema: type[BaseModel],
    owners: Sequence[str] = ("task", "data"),
    words: Sequence[str] = (),
) -> None:
    """Complete `config`, in place, with the task, the data and the groups they take, as recorded in a checkpoint.

    The checkpoint holds names of options and plain values for their keys. The classes to build come from the options'
    files on this machine: nothing in a checkpoint can name code to run. An option given on the command line is kept.

    Args:
        config: of a command that reads checkpoints, resolved; it is changed. The checkpoint says the option of each
            group that is not among its `choices`, which are those of the command line.
        path: of the checkpoint.
        schema: of the configuration; a text of the checkpoint may be one of its literals.
        owners: "task", "data", or both: which of them the command needs.
        words: additional words of the command line for Hydra, such as its search path.

    Raises:
        UserError: the file is not a checkpoint, or its options do not exist on this machine.
    """
    metadata = read_metadata(path)
    composed = _recompose(metadata, config, path, words)
    for owner in owners:
        _fill(config, owner, composed, metadata, path, schema)
        for group in config[owner].get("takes", ()):
            if group in composed and not isinstance(composed[group], DictConfig):
                if owner == "task" and group in metadata.values:  # a plain value, such as the seed, is no group
                    config.setdefault(group, metadata.values[group])
                continue
            _fill(config, group, composed, metadata, path, schema)
    taken = {group for owner in owners for group in config[owner].get("takes", ())}
    for group in config.keys() - {"choices", *config["choices"], *owners, *taken}:
        if isinstance(config[group], dict) and all(value is None for value in config[group].values()):
            del config[group]
    _refuse_untaken(config, owners, path)


def _refuse_untaken(config: Mapping[str, Any], owners: Sequence[str], path: Path) -> None:
    """Refuse an option of the command line whose group neither task nor data takes."""
    taken = dict.fromkeys(group for owner in owners for group in config[owner].get("takes", ()))
    for group, option in config["choices"].items():
        if group not in taken and group not in OF_THE_PROGRAM:
            raise UserError(
                f"{group}={option} is refused: what checkpoint={path} was made of takes no {group}\n"
                f"It takes: {', '.join(taken) or 'nothing'}"
            )


def _recompose(metadata: CheckpointMetadata, config: dict[str, Any], path: Path, more: Sequence[str]) -> DictConfig:
    """Compose the configuration of the training run from its recorded words and options and this machine's files."""
    given = config["choices"].keys()
    groups = {word.partition("=")[0] for word in metadata.words}
    choices = [f"{group}={option}" for group, option in metadata.choices.items() if group not in groups]
    words = [word for word in (*choices, *metadata.words) if word.partition("=")[0] not in given]
    try:
        return _compose([*words, *more])
    except MissingConfigException as error:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        raise UserError(
            f"checkpoint={path} was made with {group}={option}, which is not among the options here.\n"
            f"Give the folder of its file with --config-dir=DIR, or choose another option with {group}=OPTION."
        ) from error
    except ConfigCompositionException as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"checkpoint={path} was made with options that cannot be composed here: {reason}\n"
            "Give the folder of their files with --config-dir=DIR."
        ) from error


def _compose(words: list[str]) -> DictConfig:
    """Compose a training run; a group that is not in the defaults list is added with +GROUP=OPTION."""
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
    if group in config["choices"]:
        return
    if group not in composed:
        raise UserError(
            f"checkpoint={path} needs the group {group}, which does not exist here.\n"
            "Give the folder of its files with --config-dir=DIR."
        )
    own: dict[str, Any] = OmegaConf.to_container(composed[group], resolve=True)  # type: ignore[assignment]
    chosen = {key: value for key, value in given.items() if value is not None or key not in LEFT_OPEN}
    not_taken = {*NOT_KEPT, *chosen, *((*TASK_KEYS, *own.get("training_only", ())) if group == "task" else ())}
    if own.get("root", "???") != "???":  # a file must not choose the folder of this machine's downloads
        not_taken.add("root")
    kept = {key: value for key, value in metadata.values.get(group, {}).items() if key not in not_taken}
    try:
        values = _with_values(own, kept, group)
        refuse_texts(kept, own, group, path, schema)
    except KeyError as error:
        option = metadata.choices.get(group, "…")
        raise UserError(
            f"checkpoint={path} has the key {error.args[0]}, which {group}={option} does not have here.\n"
            f"It was made with another version of that option: give the key with +{error.args[0]}=VALUE."
        ) from error
    config[group] = {**values, **chosen}
    if group in metadata.choices:
        config["choices"][group] = metadata.choices[group]


def _with_values(own: dict[str, Any], values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a copy of an option with other values for its plain keys; the classes to build are not changed.

    A key that the option does not have is added if its value is a number, true, false or null.

    Raises:
        KeyError: such a key has another value.
    """
    merged = dict(own)
    for key, value in values.items():
        if key not in own:
            if any(place[-1:] != (None,) for place, _ in _texts(value)):  # not a key
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
    """Refuse texts of a checkpoint that differ from the option's: one may be an address, a file, or a name of code.

    Numbers, booleans and null are accepted. So is a text that the schema lists as a literal, or the name of a metric
    where the schema expects one.

    Args:
        recorded: values of the option's keys in the checkpoint.
        own: all keys of the option on this machine, with their values.
        group: of the option.
        path: of the checkpoint, for the message.
        schema: see `fill_in`.

    Raises:
        UserError: there is such a text; the second line says how to accept or to reject it.
    """
    for key, value in recorded.items():
        if key not in own:  # checked by _with_values
            continue
        if {*_texts(value)} <= {*_texts(own[key])} or _is_choice(schema, group, key, value):
            continue
        there = group == "data" and key in LEFT_OPEN  # other keys are not in the command's configuration
        name = f"{'' if there else '+'}{group}.{key}"
        cure = f"To use it, add {shown(shell_word(name, value))}"
        if isinstance(value, dict) and own[key] == "???":  # of a class, whose name is not in the checkpoint
            cure = f"Give it as in training, with its _target_: '{name}={{_target_: …}}'"
        if own[key] != "???":
            cure += f"; if not, {shown(shell_word(name, own[key]))} as it is here"
        raise UserError(
            f"checkpoint={path} was trained with {group}.{key}={shown(value)}. For safety, no folder and no text "
            f"is taken from a checkpoint.\n{cure}."
        )


def _texts(value: Any, place: tuple[str | int | None, ...] = ()) -> Iterator[tuple[tuple[str | int | None, ...], str]]:
    """Yield all texts in plain data with their places; the place of a key of a dictionary ends in None."""
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
        return isinstance(value, str) and re.fullmatch(METRIC_NAME, value) is not None
    forms = [field.annotation, *get_args(field.annotation)]
    return any(get_origin(form) is Literal and value in get_args(form) for form in forms)


def build_trained(config: dict[str, Any], facts: Mapping[str, Any], path: Path) -> LightningModule:
    """Build the task of a checkpoint and load its weights; on the CPU.

    Raises:
        UserError: the task cannot be built, or the weights do not fit it. This is checked on the meta device first: a
            file of a few bytes could ask for a network of any size.
    """
    if isinstance(model := config.get("model"), dict):  # all weights are in the checkpoint, and none is trained
        config = {**config, "model": {key: value for key, value in model.items() if key not in OF_MODEL}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that loading into meta tensors copies nothing
            without_memory = _build_on_meta(config, facts)
            if without_memory is not None:
                load_weights(without_memory, path)
        task = build_task(config, facts)
    except (RuntimeError, MemoryError, OverflowError, KeyError, InstantiationException) as error:
        cause = error.__cause__ or error
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)
        raise UserError(f"checkpoint={path}: its network cannot be built: {reason}") from error
    load_weights(task, path)
    return task


def _build_on_meta(config: dict[str, Any], facts: Mapping[str, Any]) -> LightningModule | None:
    """Build a task on the meta device; None if it cannot be built there, since it reads values of tensors."""
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
    """Check that the facts which the task and the groups it takes refer to are those of the training data.

    Raises:
        UserError: a fact differs.
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
    """Build the task of a checkpoint on the CPU, call its method `view` with the facts, and return the result.

    Args:
        config: of the command.
        path: of the checkpoint.
        view: name of the method, such as "exportable".
        kind: type that the method must return.
        command: name of the command, for messages.
        chosen: further arguments of the method.

    Raises:
        UserError: the method is missing, lacks an argument of `chosen`, or returns another type; and as
            `build_trained`.
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
            f"chosen for it.\nLeave the setting out, or add the argument to the method."
        )
    result = method(facts, **chosen)
    if not isinstance(result, kind):
        raise UserError(
            f"{view}() of {type(task).__name__} returns a {type(result).__name__}: {command} needs a {kind.__name__}.\n"
            "docs/tasks.md says how to make one."
        )
    return result
