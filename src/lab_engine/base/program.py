"""How this program was started, and commands for its user to paste."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

SCRIPT_VARIABLE = "LAB_ENGINE_SCRIPT"
"""Environment variable with the script that the user called, such as `my-lab`; empty: a command was run with `-m`.

All processes of a run inherit it.
"""


def command_for(
    module: str, words: Iterable[str] = (), config_dir: str | Path | None = None, recorded: bool = False
) -> str:
    """Return a command in the form by which this program was started: `my-lab NAME …` or `python -m MODULE …`.

    Args:
        module: of the command, such as "my_lab.train".
        words: of its command line, not yet quoted for the shell.
        config_dir: value of `--config-dir`, or None.
        recorded: for a file, which may be read elsewhere: the program is named without its folder.
    """
    script = os.environ.get(SCRIPT_VARIABLE, "")
    if recorded:
        start = [Path(script).name] if script else ["python"]
    else:
        start = [_shown(Path(script)) if script else installed("python")]
    start += [module.rpartition(".")[2]] if script else ["-m", module]
    own = [] if config_dir is None else [f"--config-dir={config_dir}"]
    return shlex.join([*start, *own, *words])


def installed(name: str) -> str:
    """Return the command of a script installed beside this Python: its name if PATH finds it, else its path."""
    return _shown(Path(sys.executable).parent / name)


def short(path: Path) -> str:
    """Return a path relative to the current folder if it is below it, else unchanged."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _shown(script: Path) -> str:
    return script.name if shutil.which(script.name) == str(script) else short(script)
