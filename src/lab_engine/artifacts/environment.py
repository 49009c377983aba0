"""The environment of a run, from `environment.json` in its folder: versions, machine, state of the code."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

FILE = "environment.json"


class Git(BaseModel):
    """The state of the code.

    Attributes:
        commit: its hash; None where it is not known.
        branch: None where there is none.
        dirty: whether files differed from the commit, or new ones had been added.
        reason: why the commit is not known, a line.
    """

    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    reason: str = ""


class Environment(BaseModel):
    """The environment of a run.

    Attributes:
        started: local time with its offset, ISO 8601.
        command: with short forms written out; for a job of a sweep, a command that would run this job alone.
        versions: of Python and packages.
        system: name and release.
        cpu: model.
        cores: CPU cores that the run was allowed to use.
        threads: CPU threads of each process.
        memory_gb: of the machine, 10^9 bytes.
        device: of the first process: "cpu", "cuda", …
        gpus: models that the first process could see; empty if it did not compute on a GPU.
        precision: by Lightning's name, such as "bf16-mixed"; never `auto`, but what it became on this machine.
        speed: the settings of that group, likewise without `auto`.
        git: state of the code.
        data: the data's fingerprint: of images the SHA-256 of pixels, labels and class names.
    """

    started: datetime
    command: str
    versions: dict[str, str]
    system: str
    cpu: str
    cores: int
    threads: int | None = None  # older files do not have this key, nor those with a default below
    memory_gb: float
    device: str
    gpus: list[str]
    precision: str = ""
    speed: dict[str, str | bool | None] = {}
    git: Git
    data: str = ""


def read_environment(folder: Path) -> Environment | None:
    """Read `environment.json`; None where it is missing or unreadable."""
    try:
        return Environment.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None
