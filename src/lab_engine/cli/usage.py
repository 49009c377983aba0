"""Options that show a command instead of running it: `--help`, and Hydra's own such as `--cfg job`."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.utils import env_override
from omegaconf import OmegaConf, open_dict

from lab_engine import CONF
from lab_engine.base.imports import import_quickly
from lab_engine.base.program import command_for
from lab_engine.config.command import Command
from lab_engine.config.command_line import is_recorded
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
    header, chosen = config.hydra.help.header, {*config.hydra.runtime.choices, *config}
    with open_dict(config):
        for key in ("hydra", "folder", "choices"):  # set by the program, not by the user
            del config[key]
    lines = [header, "", "Groups, chosen with GROUP=OPTION:"]
    found: dict[str, set[str]] = {}
    for group in (path for folder in folders for path in folder.iterdir() if path.is_dir() and path.name in chosen):
        found.setdefault(group.name, set()).update(path.stem for path in group.glob("*.yaml"))
    lines += [f"  {group:<10} {', '.join(sorted(options))}" for group, options in sorted(found.items())]
    if command.short or command.folders:
        lines += ["", "Short forms:", *(f"  {short + '=…':<13} {key}=…" for short, key in command.short.items())]
        lines += [f"  {group + '=DIR':<13} {group}={one} {group}.root=DIR" for group, one in command.folders.items()]
    footer = f"{RUN_FOLDER}\n{FOOTER}" if command.leaves_files else FOOTER
    return "\n".join([*lines, "", "Keys, changed with KEY=VALUE:", OmegaConf.to_yaml(config), footer])


RUN_FOLDER = "hydra.run.dir=DIR chooses the run folder."
FOOTER = """\
--config-dir=DIR adds options from a folder of yours, --cfg job shows the composed configuration without a run; for all
that Hydra can do see --hydra-help. The keys above are those of the selected options: `model=NAME --help` shows those
of another. `--help GROUP` and `--help GROUP.KEY` say what each key means and allows."""
