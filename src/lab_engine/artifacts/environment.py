"""What a run was done with: versions, machine, state of the code; `environment.json` in its folder."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

FILE = "environment.json"


class Git(BaseModel):
    """The state of the code.

    Attributes:
        commit: its hash; None where it is not known.
        branch: None where there is none.
        dirty: whether files differed from it, or new ones had been added.
        reason: why the commit is not known, a line.
    """

    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    reason: str = ""


class Environment(BaseModel):
    """What a run was done with.

    Attributes:
        started: local time with its offset, ISO 8601.
        command: as typed, or what would do this job of a sweep alone.
        versions: of Python and packages.
        system: name and release.
        cpu: model.
        cores: that the run might use.
        threads: that each of its processes computed with on the CPU.
        memory_gb: of the machine, 10^9 bytes.
        device: that the first process of the run computed on: "cpu", "cuda", …
        gpus: models that this process could see; empty if it did not compute on a GPU.
        precision: Lightning's name for it; what `auto` became on this machine, as all of `speed`.
        speed: the settings of that group.
        git: state of the code.
        data: the data's fingerprint: of images the SHA-256 of pixels, labels and class names.
    """

    started: datetime
    command: str
    versions: dict[str, str]
    system: str
    cpu: str
    cores: int
    threads: int | None = None  # files of older versions do not say it, nor what follows with a default
    memory_gb: float
    device: str
    gpus: list[str]
    precision: str = ""
    speed: dict[str, str | bool | None] = {}
    git: Git
    data: str = ""


def read_environment(folder: Path) -> Environment | None:
    """Read `environment.json`; None where there is none, or none that can be read."""
    try:
        return Environment.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None
