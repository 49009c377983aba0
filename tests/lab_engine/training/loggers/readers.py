"""What loggers have left, read with the libraries' own means."""

import csv
import json
import struct
import warnings
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

with warnings.catch_warnings(action="ignore"):  # of SQLAlchemy, that MLflow uses something old
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    from mlflow import MlflowClient
    from mlflow.entities import Run

BLOCK, BEFORE_FIRST, BEFORE_PART = 32768, 7, 7  # bytes of W&B's file: LevelDB's log format, after a mark of their own
WHOLE, LAST = 1, 4  # kinds of parts of a record; others go on


def read_csv(folder: Path) -> list[dict[str, str]]:
    """Rows without what is empty in them."""
    with (folder / "csv" / "metrics.csv").open(newline="") as stream:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(stream)]


def client(database: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{database}")


def read_mlflow(database: Path) -> dict[str, Run]:
    """Runs by name."""
    known = client(database)
    (experiment,) = [each for each in known.search_experiments() if each.name != "Default"]
    runs = known.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run for run in runs}


def read_wandb(folder: Path) -> list[Record]:
    """The records of a folder that W&B has left for one run."""
    (file,) = folder.glob("run-*.wandb")
    data, position, record, records = file.read_bytes(), BEFORE_FIRST, b"", []
    while position + BEFORE_PART <= len(data):
        if (left := BLOCK - position % BLOCK) < BEFORE_PART:
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        position += BEFORE_PART + length
        record += data[position - length : position]
        if kind in (WHOLE, LAST):
            records.append(Record.FromString(record))
            record = b""
    return records


def history(records: list[Record], name: str) -> list[float]:
    """The values of a metric, in order."""
    items = [item for record in records if record.HasField("history") for item in record.history.item]
    return [json.loads(item.value_json) for item in items if (item.key or item.nested_key[0]) == name]


def settings(records: list[Record]) -> dict[str, Any]:
    """Of `config`, those that the run was begun with and those that were added."""
    updates = [record.config if record.HasField("config") else record.run.config for record in records]
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for update in updates for item in update.update}
