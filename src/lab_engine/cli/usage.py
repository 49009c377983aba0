"""Options that show a command instead of running it: `--help`, and Hydra's own such as `--cfg job`."""

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.utils import env_override
from omegaconf import OmegaConf, open_dict

from lab_engine import CONF
from lab_engine.base.imports import import_quickly
from lab_engine.base.program import command_for
from lab_engine.config.command import Command
from lab_engine.config.command_line import SET_BY_THE_PROGRAM, is_recorded
from lab_engine.config.config_dir import refuse_missing, search_word
from lab_engine.config.hydra_version import BASE
from lab_engine.config.written_out import write_out_overrides

GROUP_HELP = "lab_engine.cli.group_help:group_help"
"""Imported by name, for it imports pydantic, which the plain text does without."""


def show_usage(command: Command, words: Sequence[str]) -> None:
    """Print the text of `--help`."""
    options, _ = get_args_parser().parse_known_args(words)
    overrides = [word for word in options.overrides if "=" in word]
    topics = [word for word in options.overrides if "=" not in word]
    overrides = [word for word in overrides if not (command.resumes and is_recorded(word))]
    overrides = write_out_overrides(command, overrides, options.config_dir)
    folders = [command.conf, CONF]
    if options.config_dir is not None:
        refuse_missing(options.config_dir)
        folders.append(Path(options.config_dir))
        overrides.append(search_word(options.config_dir))
    if topics:
        about = import_quickly(GROUP_HELP)
        print("\n\n".join(about(command, topic, folders) for topic in topics))  # noqa: T201
        return
    text = usage(command, folders, overrides)
    text = re.sub(rf"python -m ({command.package}\.\w+)", lambda found: command_for(found[1], recorded=True), text)
    print(text)  # noqa: T201


def show_composed(command: Command, words: Sequence[str]) -> None:
    """Show what Hydra's own options ask for, such as the composed configuration; the command does not run."""
    sys.argv[1:] = words
    show = hydra.main(config_path=str(command.conf), config_name=command.name, **BASE)
    # makes Hydra raise an error instead of printing a report that fills a page
    with env_override({"HYDRA_FULL_ERROR": "1"}):
        show(lambda composed: None)()


def usage(command: Command, folders: Sequence[Path], overrides: list[str]) -> str:
    """Return what a command is for, the options of each group, and all keys with their values.

    Hydra's own `--help` also lists Hydra's own groups, which is slow.

    Args:
        command: its name is that of its file in the first folder.
        folders: of the YAML files: the project's, the engine's, and the user's own if there is one.
        overrides: as on the command line; they show in the values.
    """
    with initialize_config_dir(str(folders[0]), **BASE):
        config = compose(command.name, overrides=overrides, return_hydra_config=True)
    # Hydra does not count a group as chosen where a list of options was
    header, chosen = config.hydra.help.header, {*config.hydra.runtime.choices, *config} - {"hydra"}
    with open_dict(config):
        for key in ("hydra", *SET_BY_THE_PROGRAM):
            config.pop(key, None)
    lines = [header]
    found: dict[str, set[str]] = {}
    for group in (path for folder in folders for path in folder.iterdir() if path.is_dir() and path.name in chosen):
        found.setdefault(group.name, set()).update(path.stem for path in group.glob("*.yaml"))
    if found:
        lines += ["", "Groups, chosen with GROUP=OPTION:"]
    lines += [f"  {group:<10} {', '.join(sorted(options))}" for group, options in sorted(found.items())]
    if command.short or command.folders:
        lines += ["", "Short forms:", *(f"  {short + '=…':<13} {key}=…" for short, key in command.short.items())]
        lines += [f"  {group + '=DIR':<13} {group}={one} {group}.root=DIR" for group, one in command.folders.items()]
    footer = f"{RUN_FOLDER}\n{FOOTER}" if command.leaves_files else FOOTER
    keys = yaml.dump(
        OmegaConf.to_container(config), Dumper=_ListsOnOneLine, sort_keys=False, allow_unicode=True, width=math.inf
    )
    return "\n".join([*lines, "", "Keys, changed with KEY=VALUE:", keys, footer])


class _ListsOnOneLine(yaml.SafeDumper):  # type: ignore[misc]
    def represent_list(self, data: list[Any]) -> yaml.Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_ListsOnOneLine.add_representer(list, _ListsOnOneLine.represent_list)


RUN_FOLDER = "hydra.run.dir=DIR    chooses the run folder"
FOOTER = """\
--help GROUP         the options of a group, and what its keys mean and allow
--help KEY           the same for one key, such as data.batch_size or seed
GROUP=OPTION --help  this list with the keys of another option
--cfg job            shows the composed configuration without a run
--config-dir=DIR     adds options from a folder of yours
--hydra-help         all that Hydra can do
??? marks a key that must be given; from_data is filled in from the data, and
${KEY} with the value of another key."""
