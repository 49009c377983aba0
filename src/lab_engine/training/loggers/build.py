"""Loggers from the configuration; those of MLflow and W&B go on with what the run has begun there."""

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
from lab_engine.config.instantiate import build_each

Config = dict[str, Any]

MLFLOW = "lightning.pytorch.loggers.MLFlowLogger"
WANDB = "lightning.pytorch.loggers.WandbLogger"
MLFLOW_RUN = "mlflow_run_id"
"""File in the run folder; written when the run of MLflow has its hyperparameters."""
SQLITE = "sqlite:///"
SECONDS_FOR_A_LOCKED_DATABASE = 60
MAX_NAME = 250  # characters, of a metric in MLflow
NOT_IN_NAMES = re.compile(r"[^\w/. -]", re.ASCII)


def build_loggers(config: Config) -> list[Logger]:
    """Build the loggers of a run.

    Args:
        config: of the run; arguments that its loggers name themselves are left as they are.

    Raises:
        UserError: one of them cannot be made, or MLflow's database or server cannot be used.
    """
    folder, own = Path(config["folder"]), {MLFLOW: _of_mlflow, WANDB: _of_wandb}
    nodes: dict[str, Config | None] = {}
    for name, node in config["logger"].items():
        add = None if node is None else own.get(node["_target_"])
        nodes[name] = node if add is None else {**add(node, folder), **node}
    loggers: list[Logger] = list(build_each(nodes, "logger").values())
    for logger in loggers:
        if isinstance(logger, MLFlowLogger):
            logger.log_metrics = partial(_log_under_plain_names, logger.log_metrics)  # type: ignore[method-assign]
        elif isinstance(logger, WandbLogger):
            logger._wandb_init.pop("anonymous", None)  # W&B warns of it, even of null
            if logger._offline:
                logger._wandb_init.pop("resume", None)  # likewise
    return loggers


def _run_name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}" if (folder / "job.json").exists() else folder.name


def _of_wandb(node: Config, folder: Path) -> Config:
    begun = sorted(folder.glob("wandb/*run-*-*"))
    return {"name": _run_name(folder), "id": begun[0].name.rpartition("-")[2] if begun else None}


def _of_mlflow(node: Config, folder: Path) -> Config:
    """Make what all runs share, database and experiment, before Lightning does: other runs may be at it, too."""
    # before MLflow is imported: it would report to its makers, and log in its own format
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    place, name = node.get("tracking_uri"), node.get("experiment_name", "lightning_logs")
    added: Config = {"run_name": _run_name(folder)}
    if place is None:  # of Lightning's own choice
        return added
    with _explained(place), _alone(place):
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        client = MlflowClient(place)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            with suppress(MlflowException):  # on a server, where none waits for another: another run has made it
                client.create_experiment(name, node.get("artifact_location"))
        elif experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"logger.mlflow.experiment_name={name} has been deleted there: choose another, or restore it."
            )
        if (folder / MLFLOW_RUN).exists():
            run_id = (folder / MLFLOW_RUN).read_text().strip()
            with suppress(MlflowException):  # of another database: a new run is begun
                client.update_run(run_id, status="RUNNING")
                added["run_id"] = run_id
    return added


@contextmanager
def _alone(place: str) -> Iterator[None]:
    """Keep other runs waiting while the tables of an SQLite file are made."""
    if not place.startswith(SQLITE):
        yield
        return
    database = sqlite_file(place)
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_name(f".{database.name}.lock")):
        with closing(sqlite3.connect(database, timeout=SECONDS_FOR_A_LOCKED_DATABASE)) as connection:
            connection.execute("SELECT * FROM sqlite_master")  # of what is no database MLflow would try for minutes
        yield


def sqlite_file(uri: str) -> Path:
    """Return the file that an address of SQLite names."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


@contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        with env_override({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}):  # of a server; later on it is more patient
            yield
    except Exception as error:
        if not (isinstance(error, OSError | sqlite3.Error) or type(error).__module__.startswith("mlflow.")):
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"logger.mlflow cannot use {place}: {reason}") from error


def _log_under_plain_names(log: Callable[..., None], metrics: Mapping[str, float], step: int | None = None) -> None:
    """Write as numbers what Lightning leaves out of names: two classes would be one, and MLflow would refuse 猫."""
    named = {NOT_IN_NAMES.sub(lambda found: f"_{ord(found[0]):x}_", key): value for key, value in metrics.items()}
    log({key[:MAX_NAME]: value for key, value in named.items()}, step)
