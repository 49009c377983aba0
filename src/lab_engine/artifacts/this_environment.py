"""The environment of this process, written to `environment.json`: versions, machine, state of the code."""

import logging
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from lab_engine.artifacts.environment import FILE, Environment, Git, read_environment
from lab_engine.base.atomic_write import atomic_write
from lab_engine.base.git import NO_ROOM, PATCH, git, uncommitted_patch
from lab_engine.base.imports import import_quickly
from lab_engine.base.wording import counted
from lab_engine.config.command_line import started_as

log = logging.getLogger(__name__)

PACKAGES = (
    *("numpy", "torchvision", "lightning", "torchmetrics", "hydra-core", "omegaconf", "pydantic", "pillow"),
    *("tensorboard", "matplotlib", "optuna", "triton"),
)
"""Packages whose versions are recorded if they are installed, besides torch and the project."""
COMPARED = {"versions", "git", "data"}
"""Fields that should be the same when a run resumes."""
SECONDS_FOR_GIT = 5.0  # a checkout on a slow disk must not delay a run for long


def record_environment(
    folder: Path,
    package: str,
    device: torch.device,
    config: Mapping[str, Any],
    fingerprint: str = "",
) -> None:
    """Write `environment.json` and `changes.patch`; when a run resumes, these files are not changed.

    It warns if code, versions or data have changed since the run started, and writes them to `environment.N.json`.

    Args:
        folder: of the run.
        package: of the project, such as "my_lab".
        device: that this process computes on.
        config: of a training run, resolved (see `lab_engine.training.speed.resolve_auto`).
        fingerprint: of the data; empty if they have none.
    """
    chosen = {"precision": config["trainer"]["precision"], "speed": config["speed"], "data": fingerprint}
    environment = gather(package, device).model_copy(update=chosen)
    started = read_environment(folder)
    if started is not None:
        now, then = (each.model_dump(include=COMPARED) for each in (environment, started))
        if changed := [key for key in now if now[key] != then[key]]:
            number = len(list(folder.glob("environment.*.json"))) + 2
            again = folder / f"environment.{number}.json"
            atomic_write(again, environment.model_dump_json(indent=1) + "\n", errors="replace")
            log.warning("Changed since the run started: %s. See %s.", ", ".join(changed), again.name)
    elif not (folder / FILE).exists():
        if environment.git.dirty and (patch := uncommitted_patch(_folder(package), SECONDS_FOR_GIT)):
            atomic_write(folder / PATCH, patch)
            if missing := sum(line.startswith(NO_ROOM) for line in patch.splitlines()):
                left = counted(missing, "file")
                log.warning("%s has no room for %s, which its first lines name: commit your changes.", PATCH, left)
        atomic_write(folder / FILE, environment.model_dump_json(indent=1) + "\n", errors="replace")


def gather(package: str, device: torch.device) -> Environment:
    """Collect what does not depend on the settings of a run; see `record_environment`."""
    return Environment(
        started=datetime.now().astimezone().replace(microsecond=0),
        command=_printable(started_as()),
        versions=_versions(package),
        system=platform.platform(),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        device=device.type,
        gpus=_gpus(device),
        git=git_state(_folder(package)),
    )


def _printable(text: str) -> str:
    return text.encode(errors="replace").decode()  # a command line may not be UTF-8


def _folder(package: str) -> Path:
    return Path(import_quickly(package).__file__).parent


def _versions(package: str) -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, package: str(import_quickly(package).__version__)}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or not a PC
        return platform.processor() or platform.machine()


def _gpus(device: "torch.device") -> list[str]:
    if device.type != "cuda":  # asking for GPUs would start CUDA, which takes memory and seconds
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def git_state(folder: Path) -> Git:
    """Return the state of the checkout that the code in `folder` belongs to; if git fails, the reason."""
    if (folder / "conf").is_dir():  # installed, see `config_folder`: a checkout around it is that of another project
        return Git(reason="the package is installed, and not from a checkout")
    words = ("status", "--porcelain=v2", "--branch", "--untracked-files=normal")
    try:
        done = git(folder, *words, seconds=SECONDS_FOR_GIT)
    except FileNotFoundError:
        return Git(reason="git is not installed")
    except subprocess.TimeoutExpired:
        return Git(reason=f"git took more than {SECONDS_FOR_GIT:g} s")
    except OSError as error:
        return Git(reason=f"git cannot be started: {error.strerror}")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        return Git(reason=f"git: {said[0]}")
    lines = done.stdout.decode(errors="replace").splitlines()
    about = dict(line.removeprefix("# branch.").split(" ", 1) for line in lines if line.startswith("# branch."))
    if not re.fullmatch("[0-9a-f]{40,64}", about.get("oid", "")):
        return Git(reason="nothing is committed yet")
    branch = about.get("head")
    return Git(
        commit=about["oid"],
        branch=None if branch == "(detached)" else branch,
        dirty=any(not line.startswith("#") for line in lines),
    )
