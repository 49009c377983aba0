"""JSON schemas of the configuration's files, by which editors complete and check them: `make schemas` writes them.

`python -m lab_engine.cli.json_schema PACKAGE` writes to the current folder: `.schemas` with a schema for each command
and each group, and the settings that tell VS Code and PyCharm which schema is for which file.
"""

import copy
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from lightning.pytorch import Trainer
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from lab_engine.base.atomic_write import atomic_write
from lab_engine.cli.reference import commands_of, folders_of, groups_of, keys_of, options_of, read_option, schema_of
from lab_engine.config.command import config_folder
from lab_engine.config.command_line import SET_BY_THE_PROGRAM
from lab_engine.config.facts import FROM_DATA
from lab_engine.sweeps.schema import SearchConfig

Schema = dict[str, Any]

FOLDER, COMMON = ".schemas", "definitions"
VSCODE, PYCHARM = ".vscode/settings.json", ".idea/jsonSchemas.xml"
HEAD = {"$schema": "http://json-schema.org/draft-07/schema#"}
HYDRA = "hydra"
LEVELS = 4  # of JSON, from the file to a class's keys
NULL = {"type": "null"}
OPEN = {"type": "string", "pattern": rf"\$\{{|^\?\?\?$|^{FROM_DATA}$"}
"""Texts that may stand for any value: an interpolation, a value that is still missing, and what only the data know."""
FOREIGN = {
    "type": "object",
    "required": ["_target_"],
    "errorMessage": "There is no such key or group. One that only your own task takes needs its _target_ here; "
    "for one that has a folder in conf, call `make schemas`.",
}
"""A part that the schema does not know, and that a task may take."""
UNUSED = ("title", "default", "required")
"""Words of pydantic's schemas that do not hold for a file: keys that it lacks may be in another one."""


def files(package: str, root: Path) -> dict[str, str]:
    """Return the texts of all files that the editors need, by their paths in the project's folder.

    Args:
        package: of the project.
        root: the project's folder; other settings that it has for VS Code are kept.
    """
    made = {f"{FOLDER}/{name}.json": _text(schema) for name, schema in schemas(package).items()}
    found = _globs(package, root)
    settings = json.loads((root / VSCODE).read_text(encoding="utf-8")) if (root / VSCODE).is_file() else {}
    made[VSCODE] = _text(settings | {"yaml.schemas": {f"./{FOLDER}/{name}.json": each for name, each in found.items()}})
    made[PYCHARM] = _of_pycharm(found, root)
    return made


def schemas(package: str) -> dict[str, Schema]:
    """Return a schema for each command and each group of a project, and `definitions`, to which they refer."""
    folders = folders_of(package)
    parts, definitions = _definitions(package)
    chooses = {name: option for name in commands_of(package) for option in [read_option(_file(package, name))]}
    nulls = [
        (name, key)
        for name in groups_of(folders)
        for option in options_of(name, folders)
        for key in _nulls(option.values)
    ]
    nulls += [(key.partition(".")[0], key) for option in chooses.values() for key in _nulls(option.values)]
    for group, key in nulls:
        _allow_null(parts.get(_parent(group, parts)), definitions, key.rpartition(".")[2])
    definitions |= {_flat(name): _content(name, part, definitions, package) for name, part in parts.items()}
    groups = _own_folders(package, parts)
    with_values = [group for group in groups if not all(option.everywhere for option in options_of(group, folders))]
    references: Schema = {
        group: {"$ref": f"#/definitions/{group}"} if group in parts else {} for group in with_values if "/" not in group
    }
    run = {**_plain(package, "train"), **references, HYDRA: {}}
    of_a_file = {key: value for key, value in run.items() if key not in SET_BY_THE_PROGRAM}
    made: dict[str, Schema] = {HYDRA: {**HEAD, "type": "object"}}
    for group in groups:
        content = copy.deepcopy(definitions.get(_flat(group), {"type": ["object", "null"], "properties": {}}))
        options = options_of(group, folders)
        if any(option.everywhere for option in options):
            content["properties"] |= of_a_file
            content["additionalProperties"] = FOREIGN
        made[_flat(group)] = _with_defaults(content, [option.name for option in options])
    for name, option in chooses.items():
        chosen = {group: each for group, each in references.items() if group in option.chosen}
        properties = {**_plain(package, name), **chosen, HYDRA: {}}
        made[name] = _with_defaults({"type": "object", "properties": properties, "additionalProperties": False}, [])
    definitions |= {"open": OPEN, "choice": _choice(groups, folders)}
    pointed = json.dumps(made).replace('"#/definitions/', f'"{COMMON}.json#/definitions/')
    return {COMMON: {**HEAD, "definitions": definitions}, **json.loads(pointed)}


def _definitions(package: str) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Return the schema of each group as a part of the configuration, and the definitions to which they refer."""
    forms: list[type[BaseModel]] = [schema_of(package, "train"), SearchConfig]
    _, made = models_json_schema([(form, "validation") for form in forms], ref_template="#/definitions/{model}")
    definitions = {name: _loosened(schema, package) for name, schema in made["$defs"].items()}
    parts: dict[str, Schema] = {}
    for form in forms:
        parts |= definitions.pop(form.__name__)["properties"]
    folders = groups_of(folders_of(package))
    parts |= {f"sweeper/{key}": part for key, part in definitions["Search"]["properties"].items()}
    known = {name: None for name in inspect.signature(Trainer).parameters if name != "deterministic"}
    definitions["Trainer"] |= {
        "if": {"properties": {"_target_": {"const": "lightning.pytorch.Trainer"}}},
        "then": {"properties": {name: {} for name in ("_target_", *known)}, "additionalProperties": False},
    }
    return {name: part for name, part in parts.items() if name in folders}, definitions


def _whole(value: Any) -> Any:
    """Return a limit such as 0.0 as 0, which other releases of pydantic write."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _loosened(schema: Schema, package: str) -> Schema:
    """Return a schema of pydantic as it holds for a file that may leave out keys and refer to other values."""
    kept = {word: _whole(value) for word, value in schema.items() if word not in UNUSED}
    if "properties" in kept:
        kept["properties"] = {key: _value(value, package) for key, value in kept["properties"].items()}
    if kept.get("additionalProperties") is True:  # which it is anyway; not every release of pydantic says so
        del kept["additionalProperties"]
    for word in ("items", "additionalProperties"):
        if isinstance(kept.get(word), dict):
            kept[word] = _value(kept[word], package)
    if "anyOf" in kept:
        forms = [_loosened(each, package) for each in kept.pop("anyOf") if each != NULL]
        form = forms[0] if len(forms) == 1 else {"anyOf": forms}
        kept |= _or_null(form) if NULL in schema["anyOf"] else form
    if "oneOf" in kept:  # by whose _target_ it is
        own, other = kept.pop("oneOf")
        foreign = {"_target_": {"not": {"pattern": rf"^{package}\."}}}
        kept |= {"if": {"required": ["_target_"], "properties": foreign}, "then": other, "else": own}
    return kept


def _or_null(form: Schema) -> Schema:
    return {"if": NULL, "else": form}  # a choice of two would be refused as a whole, not for the key that is wrong


def _value(schema: Schema, package: str) -> Schema:
    described = {"description": schema["description"]} if "description" in schema else {}
    rest = {word: value for word, value in schema.items() if word != "description"}
    offered = {"examples": each} if (each := _offered(schema)) else {}
    return {**described, **offered, "if": {"$ref": "#/definitions/open"}, "else": _loosened(rest, package)}


def _offered(schema: Schema) -> list[Any]:
    """Return the values to complete a key with: editors do not look for them below `else`."""
    if schema.get("type") == "boolean":
        return [True, False]
    own = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    return [*own, *(value for each in schema.get("anyOf", ()) for value in _offered(each))]


def _content(group: str, part: Schema, definitions: Mapping[str, Schema], package: str) -> Schema:
    """Return the schema of what a group holds; keys of its options that the class does not list are described."""
    core = part["else"]
    classes = list(_classes(core))
    of_each = core.get("additionalProperties")
    if isinstance(of_each, dict):  # named objects
        content: Schema = {"type": ["object", "null"], "properties": {}, "additionalProperties": of_each}
    elif "$ref" in core and definitions[classes[0]].get("additionalProperties") is False:
        content = copy.deepcopy(definitions[classes[0]])
    else:
        content = {"type": ["object", "null"], "properties": {}, "allOf": [core]}
    listed = {key for name in classes for key in definitions[name]["properties"]}
    for key in keys_of(group, package):
        first, *rest = key.name.split(".")
        text = {"description": f"{key.meaning} ({key.allowed})" if key.meaning else key.allowed}
        if first == "*" or (first in listed and of_each is None) or content.get("additionalProperties") is False:
            continue
        place = content["properties"].setdefault(first, {"allOf": [of_each]} if of_each else {})
        if not rest:
            place |= text
        elif rest[0] not in listed:
            place.setdefault("properties", {})[rest[0]] = text
    return content


def _classes(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions to which a schema refers, but for that of interpolations."""
    if isinstance(schema, dict):
        if schema.get("$ref", "#/definitions/open") != "#/definitions/open":
            yield schema["$ref"].rpartition("/")[2]
        for each in schema.values():
            yield from _classes(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _classes(each)


def _nulls(values: Mapping[str, str]) -> list[str]:
    return [key for key, value in values.items() if value == "null"]


def _allow_null(part: Schema | None, definitions: Mapping[str, Schema], key: str) -> None:
    """Allow null for a key of a group that is null in a file, where the program fills it in before it checks it."""
    for name in _classes(part):
        value = definitions[name]["properties"].get(key)
        if value and value["else"].get("if") != NULL:
            value["else"] = _or_null(value["else"])


def _with_defaults(content: Schema, names: Sequence[str]) -> Schema:
    choice = {"if": {"type": "object"}, "then": {"$ref": "#/definitions/choice"}, "else": _one_of([*names, "_self_"])}
    defaults = {"description": "options to start from, in order; later ones win", "type": "array", "items": choice}
    return {**HEAD, **content, "properties": {"defaults": defaults, **content["properties"]}}


def _choice(groups: Sequence[str], folders: Sequence[Path]) -> Schema:
    """Return the schema of an entry GROUP: OPTION of a defaults list."""
    properties: Schema = {}
    for group in groups:
        one = _one_of([option.name for option in options_of(group, folders)])
        value = {**one, "anyOf": [*one["anyOf"], NULL, {"type": "array", "items": one}]}
        properties |= {group: value, f"override /{group}": value}
    tails = {group[start:] for group in groups for start in (0, *(at.end() for at in re.finditer("/", group)))}
    names = "|".join(sorted(tails))
    pattern = rf"^((override|optional) )?/?({names}|hydra)(/\w+)*(@[\w.]+)?$"
    others = {pattern: {"type": ["string", "array", "null"]}}
    return {"properties": properties, "patternProperties": others, "additionalProperties": False}


def _one_of(names: Sequence[str]) -> Schema:
    """Return a schema that offers names, and takes others: the user's own options."""
    return {"anyOf": [{"enum": list(names)}, {"type": "string"}]}


def _plain(package: str, command: str) -> Schema:
    """Return the schemas of the keys of a command that belong to no group."""
    form = schema_of(package, command)
    made = form.model_json_schema()["properties"]
    return {key: _value(value, package) for key, value in made.items() if "#/$defs/" not in json.dumps(value)}


def _parent(group: str, parts: Mapping[str, Schema]) -> str:
    """Return the group to which a folder's files belong: that of `data/common` is `data`."""
    return group if group in parts else group.partition("/")[0]


def _own_folders(package: str, parts: Mapping[str, Schema]) -> list[str]:
    return list(dict.fromkeys(_parent(group, parts) for group in groups_of(folders_of(package))))


def _flat(group: str) -> str:
    return group.replace("/", "-")


def _file(package: str, command: str) -> Path:
    return config_folder(package) / f"{command}.yaml"


def _globs(package: str, root: Path) -> dict[str, list[str]]:
    """Return patterns of the files that each schema is for; they hold in both folders of YAML files, and in others."""
    parts, _ = _definitions(package)
    found = {}
    for group in (HYDRA, *_own_folders(package, parts)):
        divided = any(name.startswith(f"{group}/") for name in parts)
        found[_flat(group)] = [f"conf/{group}/*.yaml" if divided else f"conf/{group}/**/*.yaml"]
    return found | {name: [f"conf/{name}.yaml"] for name in commands_of(package)}


def _of_pycharm(globs: Mapping[str, Sequence[str]], root: Path) -> str:
    """Return PyCharm's mappings: its `*` also stands for slashes, so files are listed where that would be too many."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<project version="4">']
    lines += ['  <component name="JsonSchemaMappingsProjectConfiguration">', "    <state>", "      <map>"]
    for name, patterns in globs.items():
        lines += [f"        <entry key={quoteattr(name)}>", "          <value>", "            <SchemaInfo>"]
        lines += [f'              <option name="name" value={quoteattr(name)} />']
        lines += [f'              <option name="relativePathToSchema" value="{FOLDER}/{name}.json" />']
        lines += ['              <option name="schemaVersion" value="JSON Schema version 7" />']
        lines += ['              <option name="patterns">', "                <list>"]
        for pattern in patterns:
            whole = "**" in pattern
            paths = [pattern.replace("**/", "")] if whole else sorted(_matching(pattern, root))
            for path in paths:
                kind = (
                    '<option name="pattern" value="true" /><option name="mappingKind" value="Pattern" />'
                    if whole
                    else ""
                )
                lines += [f'                  <Item><option name="path" value={quoteattr(path)} />{kind}</Item>']
        lines += ["                </list>", "              </option>"]
        lines += ["            </SchemaInfo>", "          </value>", "        </entry>"]
    return "\n".join([*lines, "      </map>", "    </state>", "  </component>", "</project>", ""])


def _matching(pattern: str, root: Path) -> list[str]:
    return [
        path.relative_to(root).as_posix() for place in (".", "src/lab_engine") for path in (root / place).glob(pattern)
    ]


def _text(schema: Schema) -> str:
    """Return JSON with a line for each key of a class, so that a change is a change of few lines."""
    return "".join(_lines(schema, LEVELS)) + "\n"


def _lines(value: Any, levels: int, indent: str = "\n") -> Iterator[str]:
    if levels and isinstance(value, dict) and value:
        deeper = f"{indent} "
        for number, (key, each) in enumerate(value.items()):
            yield f"{',' if number else '{'}{deeper}{json.dumps(key)}: "
            yield from _lines(each, levels - 1, deeper)
        yield f"{indent}}}"
    else:
        yield json.dumps(value, ensure_ascii=False)


def main(package: str) -> None:
    """Write the files that have changed to the current folder, and remove schemas of groups that there are no more."""
    made = files(package, Path.cwd())
    for path in Path(FOLDER).glob("*.json"):
        if path.as_posix() not in made:
            path.unlink()
    for name, text in made.items():
        path = Path(name)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, text)
            print(name)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
