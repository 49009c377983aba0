"""Build the loggers of the configuration; a resumed run continues its run in MLflow and W&B."""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.utils import env_override
from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger

from lab_engine.base.errors import UserError
from lab_engine.config.command_line import without_passwords
from lab_engine.config.instantiate import build_each

Config = dict[str, Any]

MLFLOW = "lightning.pytorch.loggers.MLFlowLogger"
WANDB = "lightning.pytorch.loggers.WandbLogger"
MLFLOW_RUN = "mlflow_run_id"
"""File in the run folder with the id of the MLflow run; written once its hyperparameters are logged."""
SQLITE = "sqlite:///"
DATABASE_TIMEOUT = 60  # seconds to wait for a locked database
MAX_NAME = 250  # characters of a metric's name in MLflow
NOT_IN_NAMES = re.compile(r"[^\w/. -]", re.ASCII)


def build_loggers(config: Config) -> list[Logger]:
    """Build the loggers of a run.

    Args:
        config: of the run; arguments that the configuration gives are not changed.

    Raises:
        UserError: a logger cannot be built, or MLflow's database or server cannot be used.
    """
    folder, additions = Path(config["folder"]), {MLFLOW: _mlflow_arguments, WANDB: _wandb_arguments}
    nodes: dict[str, Config | None] = {}
    for name, node in config["logger"].items():
        add = None if node is None else additions.get(node["_target_"])
        nodes[name] = node if add is None else {**add(node, folder), **node}
    loggers: list[Logger] = list(build_each(nodes, "logger").values())
    for logger in loggers:
        if isinstance(logger, MLFlowLogger):
            logger.log_metrics = partial(_log_under_plain_names, logger.log_metrics)  # type: ignore[method-assign]
        elif isinstance(logger, WandbLogger):
            logger._wandb_init.pop("anonymous", None)  # W&B warns about this key, even if it is None
            if logger._offline:
                logger._wandb_init.pop("resume", None)  # W&B warns about this key, too
    return loggers


def _run_name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}" if (folder / "job.json").exists() else folder.name


def _wandb_arguments(node: Config, folder: Path) -> Config:
    earlier = sorted(folder.glob("wandb/*run-*-*"))
    return {"name": _run_name(folder), "id": earlier[0].name.rpartition("-")[2] if earlier else None}


def _mlflow_arguments(node: Config, folder: Path) -> Config:
    """Create the shared database and experiment before Lightning does: other runs may create them at the same time."""
    # before MLflow is imported: it would send telemetry, and log in its own format
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    place, name = node.get("tracking_uri"), node.get("experiment_name", "lightning_logs")
    added: Config = {"run_name": _run_name(folder)}
    if place is None:  # Lightning chooses a folder
        return added
    with _as_user_error(place), _locked(place):
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        client = MlflowClient(place)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            with suppress(MlflowException):  # on a server, which has no lock: another run has created it
                client.create_experiment(name, node.get("artifact_location"))
        elif experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"logger.mlflow.experiment_name={name} is deleted in MLflow: choose another name, or restore it."
            )
        if (folder / MLFLOW_RUN).exists():
            run_id = (folder / MLFLOW_RUN).read_text(encoding="utf-8").strip()
            with suppress(MlflowException):  # the id is of another database: start a new run
                client.update_run(run_id, status="RUNNING")
                added["run_id"] = run_id
    return added


@contextmanager
def _locked(place: str) -> Iterator[None]:
    """Lock out other runs while the tables of an SQLite file are created."""
    if not place.startswith(SQLITE):
        yield
        return
    database = sqlite_file(place)
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_name(f".{database.name}.lock")):
        with closing(sqlite3.connect(database, timeout=DATABASE_TIMEOUT)) as connection:
            # raises at once if the file is no database; MLflow would retry for minutes
            connection.execute("SELECT * FROM sqlite_master")
        yield


def sqlite_file(uri: str) -> Path:
    """Return the file of an SQLite URI."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


@contextmanager
def _as_user_error(place: str) -> Iterator[None]:
    try:
        with env_override({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}):  # to a server, for these requests only
            yield
    except Exception as error:
        if not (isinstance(error, OSError | sqlite3.Error) or type(error).__module__.startswith("mlflow.")):
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(without_passwords(f"logger.mlflow cannot use {place}: {reason}")) from error


def _log_under_plain_names(log: Callable[..., None], metrics: Mapping[str, float], step: int | None = None) -> None:
    """Replace characters that Lightning drops from names, such as 猫, by their code points: names stay different."""
    named = {NOT_IN_NAMES.sub(lambda found: f"_{ord(found[0]):x}_", key): value for key, value in metrics.items()}
    log({key[:MAX_NAME]: value for key, value in named.items()}, step)
