"""Validation of a configuration against its schema, with errors in a line or two."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lab_engine.base.errors import UserError
from lab_engine.base.wording import did_you_mean, shown
from lab_engine.config.command_line import SET_BY_THE_PROGRAM
from lab_engine.config.facts import find_from_data
from lab_engine.config.schema import CONTRADICTION, MAX_NUMBER, Target


def check(config: dict[str, Any], schema: type[BaseModel]) -> dict[str, Any]:
    """Return `config` with absolute paths, or refuse it.

    Raises:
        UserError: names key, value and what is allowed, for the first wrong value or the first two.
    """
    try:
        return schema.model_validate(config).model_dump(by_alias=True, exclude_unset=True)
    except ValidationError as error:
        described = dict(descriptions(schema))
        lines = [line for problem in error.errors() for line in _explain(config, schema, described, problem)]
        raise UserError("\n".join(list(dict.fromkeys(lines))[:2])) from error


def check_with_taken(config: dict[str, Any], schema: type[BaseModel]) -> dict[str, Any]:
    """Check as `check` does; task and data may take keys that the schema does not know.

    Raises:
        UserError: see `check`; or a `from_data` that the data do not give, or a key that is taken and missing.
    """
    owners = {name: node for name in ("task", "data") if isinstance(node := config.get(name), dict)}
    taken = {name: owner for owner, node in owners.items() for name in node.get("takes") or () if type(name) is str}
    foreign = {key: config[key] for key in taken if key in config and key not in schema.model_fields}
    checked = check({key: value for key, value in config.items() if key not in foreign}, schema) | foreign
    if "speed" in checked:
        _refuse_useless(checked, taken)
    if "data" in owners:  # a command without data reads its facts from a checkpoint
        _refuse_lacking(checked, taken)
    return checked


def _refuse_useless(config: dict[str, Any], taken: dict[str, str]) -> None:
    """Refuse settings of `speed` that this task or these data do not read."""
    speed, choices = config["speed"], config["choices"]
    if speed["compile"] is not None and taken.get("model") != "task":
        raise UserError(
            f"speed.compile={speed['compile']} is refused: task={choices.get('task')} takes no model, and only a model "
            "is compiled\nCompile in the task, or leave speed.compile at null."
        )
    if speed["data_on_device"] is True and "on_device" not in config["data"]:
        raise UserError(
            f"speed.data_on_device=true is refused: data={choices.get('data')} has no key on_device to read it\n"
            "Leave speed.data_on_device at false."
        )


def _refuse_lacking(config: dict[str, Any], taken: dict[str, str]) -> None:
    for name, owner in taken.items():
        if name not in config and name != "seed":
            option = config["choices"].get(owner, "")
            raise UserError(
                f"{owner}={option} takes {name}, which is not chosen.\n"
                f"Choose an option of the group with +{name}=OPTION, or take it out of {owner}.takes."
            )
    gives, option = config["data"].get("gives", []), config["choices"].get("data", "")
    filled = {"task", *(name for name, owner in taken.items() if owner == "task")}
    for group, part in config.items():
        for path in () if group in SET_BY_THE_PROGRAM else find_from_data(part):
            key = ".".join((group, *path))
            if group not in filled or not path:
                raise UserError(
                    f"{key}=from_data is refused: only keys of the task and of what it takes can get their value "
                    "from the data.\nWrite the value in its place."
                )
            if path[-1] not in gives:
                raise UserError(
                    f"{key}=from_data is refused: data={option} does not give {path[-1]}"
                    f"{did_you_mean(path[-1], gives)}.\n"
                    f"It gives: {', '.join(gives) or 'nothing (data.gives is empty)'}. Write the value in its place."
                )


def _explain(
    config: dict[str, Any], schema: type[BaseModel], described: dict[str, str], problem: ErrorDetails
) -> list[str]:
    """Return a line or two: KEY=VALUE and what is allowed there."""
    key: list[str] = []
    value: Any = config
    for part in problem["loc"]:  # for a union of types, the location also has the name of a type, which is no key
        if isinstance(value, dict) and part in value:
            key.append(str(part))
            value = value[part]
    name, kind = ".".join(key), problem["type"]
    if kind == CONTRADICTION:
        return problem["msg"].splitlines()
    if kind == "missing":
        return [_missing(schema, key, value, described, str(problem["loc"][-1]))]
    given = f"{name}={shown(value)} is refused"
    if kind == "extra_forbidden":
        siblings = [each for each in _keys(schema, key[:-1]) if each not in SET_BY_THE_PROGRAM]
        where = f"keys of {'.'.join(key[:-1])}" if key[1:] else "keys"
        return [f"{given}: there is no such key{did_you_mean(key[-1], siblings)}", f"{where}: {', '.join(siblings)}"]
    of_any = ".".join([*key[:-2], "*", *key[-1:]])  # the same key in any part of a group whose parts the user names
    allowed = described.get(name) or described.get(of_any)
    if allowed is None and kind in ("model_type", "dict_type"):
        allowed = "an option of the group, or keys with their values"
    if kind == "less_than_equal" and problem["ctx"]["le"] == MAX_NUMBER:
        allowed = f"{allowed or 'a number'}, at most {MAX_NUMBER}"
    return [f"{given}: give {allowed or problem['msg'].removeprefix('Input should be ')}"]


def _missing(schema: type[BaseModel], key: Sequence[str], value: Any, described: dict[str, str], lacks: str) -> str:
    if len(key) == 1 and _is_target(schema, key[0]) and "_target_" not in value:
        removed = " ".join(f"~{key[0]}.{own}" for own in value)
        if value:  # an experiment sets keys of another option, or the user's file is not complete
            return (
                f"{key[0]} has {', '.join(map(str, value))}, but no _target_: add it to the file of the option; "
                f"or if these are of another option, remove them with {removed}"
            )
    name = ".".join([*key, lacks])
    if allowed := described.get(name):
        return f"{name} is missing: give {allowed}"
    return f"{name} is missing: choose one with {name}=OPTION" if not key else f"{name} is missing: it must be given"


def _is_target(schema: type[BaseModel], name: str) -> bool:
    """Return whether the option of a group is a `Target`, not a dictionary of them."""
    form = form_of(schema, name)
    return form is not None and issubclass(form, Target)


def form_of(schema: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the class of a part by its key; None if the schema does not know the key, or its value is plain."""
    field = next((field for key, field in schema.model_fields.items() if name in (key, field.alias)), None)
    return None if field is None else next(_classes(field.annotation), None)


def _classes(form: Any) -> Iterator[type[BaseModel]]:
    """Yield the classes of parts that a type allows."""
    if isinstance(form, type) and issubclass(form, BaseModel):
        yield form
    elif get_origin(form) is not dict:
        for each in get_args(form):
            yield from _classes(each)


def _keys(schema: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the keys that are known below `path`."""
    for part in path:
        schema = form_of(schema, part) or BaseModel
    return [field.alias or name for name, field in schema.model_fields.items()]


def descriptions(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key with its description; `*` stands for the name of an object in a group of named ones."""
    for name, field in schema.model_fields.items():
        key = prefix + (field.alias or name)
        if field.description:
            yield key, field.description
        yield from _of_parts(field.annotation, f"{key}.")


def _of_parts(form: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(form, type) and issubclass(form, BaseModel):
        yield from descriptions(form, prefix)
    elif get_origin(form) is dict:
        yield from _of_parts(get_args(form)[1], f"{prefix}*.")
    else:
        for part in get_args(form):
            yield from _of_parts(part, prefix)
