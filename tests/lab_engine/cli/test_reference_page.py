"""The configuration reference has every key of the YAML files and of the schema, with what it means."""

import re
from functools import cache

import pytest

from lab_engine.cli.reference import (
    commands_of,
    folders_of,
    groups_of,
    keys_of,
    keys_of_command,
    meaning_of,
    options_of,
    schema_of,
)
from lab_engine.cli.reference_page import PARTS, page
from lab_engine.config.check import descriptions
from lab_engine.config.command_line import SET_BY_THE_PROGRAM
from lab_engine.sweeps.schema import SearchConfig

FOLDERS = folders_of("lenet_lab")
GROUPS = [group for group in groups_of(FOLDERS) if group.partition("/")[2] not in PARTS]
FORMS = [SearchConfig, *(schema_of("lenet_lab", command) for command in commands_of("lenet_lab"))]


@cache
def sections() -> dict[str, str]:
    parts = re.split(r"^### (.+)\n", page("lenet_lab"), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_key_of_the_schema_has_a_description(form: type) -> None:
    described = dict(descriptions(form))
    plain = {key for key, field in form.model_fields.items() if not (field.description or key in SET_BY_THE_PROGRAM)}
    assert [key for key in plain if not any(each.startswith(f"{key}.") for each in described) and key != "mix"] == []


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_option_and_key_is_on_the_page_and_says_what_it_is(group: str) -> None:
    assert meaning_of(group, "lenet_lab")
    section = sections()[group]
    for option in options_of(group, FOLDERS):
        assert re.search(rf"^`{group}={option.name}`\n: \w", section, re.MULTILINE)
        for name in option.values:
            key = name.removeprefix(f"{group}.") if option.everywhere else name
            assert re.search(rf"`{re.escape(key)}(`|=)", section), name
    for row in keys_of(group, "lenet_lab"):
        assert row.allowed, row.name
        assert row.meaning, row.name


@pytest.mark.parametrize("command", commands_of("lenet_lab"))
def test_every_key_of_a_command_is_on_the_page_and_says_what_it_is(command: str) -> None:
    section = sections()[f"python -m lenet_lab.{command}"]
    for row in keys_of_command(command, "lenet_lab"):
        assert f"\n`{row.name}`\n: " in section
        assert row.allowed, row.name
        assert row.meaning, row.name
