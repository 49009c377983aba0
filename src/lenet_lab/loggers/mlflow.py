"""A run in MLflow."""

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from filelock import FileLock
from hydra.core.utils import env_override
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from lenet_lab.errors import UserError
from lenet_lab.loggers.names import run_name
from lenet_lab.whole_file import write_whole

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SECONDS_FOR_A_LOCKED_DATABASE = 60
LONGEST_NAME = 250  # characters, of a metric or parameter
NOT_IN_NAMES = re.compile(r"[^\w/. :-]")


class MLflow(MLFlowLogger):
    """Lightning's, for many runs at once in one SQLite file; one that goes on continues its run of MLflow.

    Args:
        folder: the run folder; `mlflow_run_id` in it names the run of MLflow.
        database: SQLite file, made where there is none.
        tracking_uri: of a server to use instead.
        more: of Lightning's logger.

    Raises:
        UserError: the database or the server cannot be used.
    """

    def __init__(self, folder: str, database: str, tracking_uri: str | None = None, **more: Any) -> None:
        # before MLflow is imported: it would report to its makers, and log in its own format
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
        self._note = Path(folder) / "mlflow_run_id"
        self._params: set[str] = set()
        own = {} if tracking_uri else {"artifact_location": str(Path(database).with_name("mlflow_artifacts"))}
        uri = tracking_uri or f"{database_uri(database)}?timeout={SECONDS_FOR_A_LOCKED_DATABASE}"
        with _explained(tracking_uri or database), nullcontext() if tracking_uri else _alone(Path(database)):
            super().__init__(tracking_uri=uri, **{"run_name": run_name(Path(folder)), **own, **more})
            self._begin()

    @rank_zero_only
    def _begin(self) -> None:
        """Find what other runs may be making at this moment, and the run that goes on."""
        client, name = self._mlflow_client, self._experiment_name
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            self._make_experiment()
        elif experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"logger.mlflow.experiment_name={name} has been deleted there: choose another, or restore it."
            )
        if self._note.exists():
            self._continue(self._note.read_text().strip())

    def _make_experiment(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._mlflow_client.create_experiment(self._experiment_name, self._artifact_location)
        except MlflowException:
            if self._mlflow_client.get_experiment_by_name(self._experiment_name) is None:
                raise  # else another run has just made it, on a server, where none has to wait for others

    def _continue(self, run_id: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._params = set(self._mlflow_client.get_run(run_id).data.params)
        except MlflowException:  # of another database: a new run is begun
            return
        self._run_id = run_id
        self._mlflow_client.update_run(run_id, status="RUNNING")

    @property
    @rank_zero_experiment
    def experiment(self) -> "MlflowClient":
        """What writes; the run is made at the first use."""
        begun = self._run_id is not None
        client: MlflowClient = super().experiment
        if not begun:
            write_whole(self._note, f"{self._run_id}\n")
        return client

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Log those that the run has not got: MLflow refuses to change them."""
        named = {_name(key): value for key, value in params.items()}
        super().log_hyperparams({key: value for key, value in named.items() if key not in self._params})

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log at a step; Lightning would leave out of names what is not ASCII, and so mix up classes."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = [Metric(_name(key), float(value), now, step or 0) for key, value in metrics.items()]
        self.experiment.log_batch(self.run_id, metrics=batch)


def _name(name: str) -> str:
    """Write characters that MLflow allows in no name as their numbers."""
    return NOT_IN_NAMES.sub(lambda found: f"_{ord(found[0]):x}_", name)[:LONGEST_NAME]


def database_uri(database: str) -> str:
    """Give the address of an SQLite file, as MLflow and SQLAlchemy read it."""
    plain = f"sqlite:///{database}"  # where that will do: MLflow makes a folder of the path as the address has it
    if sqlalchemy.make_url(plain).database == database:
        return plain
    return sqlalchemy.URL.create("sqlite", database=database).render_as_string()


@contextmanager
def _alone(database: Path) -> Iterator[None]:
    """Keep other runs waiting while tables are made: they would make them, too."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_name(f".{database.name}.lock")):
        with closing(sqlite3.connect(database, SECONDS_FOR_A_LOCKED_DATABASE)) as connection:
            connection.execute("SELECT * FROM sqlite_master")  # MLflow would try for minutes
        yield


@contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        with env_override({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}):  # of a server; later on it is more patient
            yield
    except Exception as error:
        mendable = isinstance(error, OSError | sqlite3.Error) or type(error).__module__.startswith("mlflow.")
        if not mendable:
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"logger.mlflow cannot use {place}: {reason}") from error
