"""`--help GROUP` and `--help KEY`: options, keys, their defaults, and what is allowed."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab_engine.base.errors import UserError
from lab_engine.base.wording import did_you_mean, shown
from lab_engine.cli.reference import Key, groups_of, keys_of, keys_of_command, options_of, read_option
from lab_engine.config.command import Command

MAX_WIDTH = 80  # characters

RECORDED = {
    "resume": "resume=RUN_FOLDER, or resume=last for the newest unfinished run that has a checkpoint\n"
    "The run continues in its own folder, with its own settings. Beside resume=, only trainer.devices=, "
    "--config-dir=, trust=true and --cfg job may be given.",
    "from": "from=RUN_FOLDER, or from=last for the newest finished run\n"
    "The same training again in a new folder. The exit status is 0 if weights and metrics are the same, 1 if not. "
    "Beside from=, only hydra.run.dir=, --config-dir=, trust=true and --cfg job may be given.",
    "trust": "trust=true, beside resume= or from=\n"
    "Run what config.yaml names although another user of this machine owns the folder. Read the file first: "
    "resume=RUN_FOLDER --cfg job prints it.",
}
"""Words about a recorded run, which are no keys, and what they mean."""


def group_help(command: Command, topic: str, folders: Sequence[Path]) -> str:
    """Return what there is to know about a group or a key.

    Args:
        command: whose group or key.
        topic: its name; of a key, with the group before the dot, or a short form; or `resume`, `from`, `trust`.
        folders: of the YAML files: the project's, the engine's, and the user's own if there is one.

    Raises:
        UserError: there is no such group or key.
    """
    topic = command.short.get(topic, topic)
    if command.resumes and topic in RECORDED:
        word, meaning = RECORDED[topic].splitlines()
        return "\n".join([word, *_wrapped(meaning, "    ", "    ")])
    plain = {key.name: key for key in keys_of_command(command.name, command.package)}
    if topic in plain:
        return "\n".join(_about(topic, plain[topic], 1))
    chosen = read_option(folders[0] / f"{command.name}.yaml").chosen
    existing = groups_of(folders)
    of_the_user = groups_of(folders[2:])  # also those that only a task of theirs takes
    group, _, name = topic.partition(".")
    known = group in {*chosen, *of_the_user}
    for above in () if known else sorted({*existing} & {*chosen}):  # all files of a group are read
        for option in options_of(above, folders):
            chosen |= {f"{above}/{inner}": default for inner, default in option.chosen.items()}
    groups = [each for each in existing if each in {*chosen, *of_the_user}]
    if group not in groups:
        raise UserError(
            f"--help {shown(topic)} is refused: {command.name} has no such group or key"
            f"{did_you_mean(topic, [*groups, *plain, *command.short])}\ngroups: {', '.join(groups)}"
        )
    options = options_of(group, folders)
    keys = {key.name: key for key in keys_of(group, command.package, folders)}
    if name in keys:
        return "\n".join(_about(topic.replace("/", "."), keys[name], len(options)))
    if name:
        raise UserError(
            f"--help {shown(topic)} is refused: no option of {group} has this key{did_you_mean(name, keys)}\n"
            f"keys: {', '.join(sorted(keys))}"
        )
    indent = max(len(option.name) for option in options) + 4
    place = group.replace("/", ".")
    change = f"; {place}.KEY=VALUE changes a key" if keys else ""
    lines = [*_wrapped(f"{group}=OPTION chooses one of these{change}:", "", ""), ""]
    default = chosen.get(group, "").split(", ")
    for option in options:
        purpose = re.split(r"(?<=\.)\s", option.comment.removeprefix("Purpose").strip())[0]
        text = f"{' '.join(purpose.split())}{' (the default)' if option.name in default else ''}"
        lines += _wrapped(text, f"  {option.name}".ljust(indent), " " * indent)
    for each in sorted(keys):
        lines += ["", *_about(f"{place}.{each}", keys[each], len(options))]
    return "\n".join(lines)


def _about(name: str, key: Key, options: int) -> Iterator[str]:
    """Yield the key, what is allowed and what it means, and its default in each of so many options."""
    yield name
    of_value = {"must be given" if value == "???" else value: of for value, of in key.options_by_default.items()}
    everywhere = len(of_value) == 1 and len(key.defaults) == options
    default = "; ".join(
        value if everywhere else f"{value} with {', '.join(names)}" for value, names in of_value.items()
    )
    meaning = key.meaning if key.meaning not in key.allowed else ""
    meaning = f"{key.allowed} ({meaning})" if key.allowed and meaning else key.allowed or meaning
    for line in (meaning, f"default: {default or 'not set'}"):
        yield from _wrapped(line, "    ", "    ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    """Return the lines of a text, the first and the others indented; words such as transformer-engine stay whole."""
    return textwrap.wrap(text, _width(), initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, MAX_WIDTH)
