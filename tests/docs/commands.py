"""Commands of a page in a fence `sh`, which are not run: are they accepted, and does what they name exist?"""

import re
import shlex
import sys
import tomllib
from pathlib import Path

from PIL import Image
from sybil import Example

from tests.forked import run

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "lenet_lab"]
NOT_CHECKED = {"apt-get", "cd", "docker", "eval", "git", "optuna-dashboard", "pipx", "source", "uv"}


def check_commands(example: Example) -> str | None:
    """Compose each command of the program; check that other commands name what exists."""
    for line in example.parsed.replace("\\\n", "").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] != "lenet-lab":
            if not exists(words):
                return f"{line}\nnames nothing that exists here"
        elif "=" in line:
            done = run([*PROGRAM, *stand_in(words[1:])])
            if done.returncode:
                return f"{line}\nended with {done.returncode} and printed\n{done.stderr}"
    return None


def exists(words: list[str]) -> bool:
    """Tell whether this project has what a command names: a target, a script, or an extra."""
    kind, *rest = words
    if kind == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return {word for word in rest if "=" not in word} <= {*targets}
    if kind == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = ",".join(re.findall(r"\[(.*?)\]", " ".join(rest))).split(",")
        return {*extras} <= {"", *project["optional-dependencies"]}
    if kind.startswith("python"):
        return (ROOT / rest[0]).is_file()
    return kind in NOT_CHECKED


def stand_in(words: list[str]) -> list[str]:
    """Return words that only compose what these compose, with files in place of those of a reader."""
    if not Path("photos").exists():
        for name in ("ant", "bee"):
            Path("photos", name).mkdir(parents=True)
            Image.new("RGB", (9, 9)).save(Path("photos", name, "0.png"))
    if any(word.startswith(("checkpoint=", "resume=", "from=")) for word in words) and not Path("runs").exists():
        folder = "hydra.run.dir=runs/train/first"
        run([*PROGRAM, "train", "data=digits", "batch_size=32", "epochs=1", folder])
    found = [word.replace("RUN_FOLDER", "runs/train/first") for word in words if word != "-m"]
    found = [re.sub(r"^resume=", "from=", word) for word in found]  # that run is finished
    if "-m" in words:  # one value of each key
        found = [re.sub(r"=.*\((?:.*,)?([\w.]+)\)+$|=([^\[,(]+),[^\]]*$", r"=\1\2", word) for word in found]
    return [*found, "--cfg", "job"]
