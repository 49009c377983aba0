"""CSVLogger that a resumed run appends to."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lab_engine.base.atomic_write import atomic_write


class CSV(CSVLogger):
    """Lightning's CSVLogger, but a resumed run appends to its file in place of deleting it."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(self.log_dir)
        return self._experiment  # type: ignore[return-value]


class _AppendingWriter(ExperimentWriter):
    _resumes = False  # whether a file of the interrupted run has yet to be read

    def _check_log_dir_exists(self) -> None:
        """Keep the file of an interrupted run, which Lightning would delete here."""
        self._resumes = Path(self.metrics_file_path).exists()

    def log_metrics(self, metrics_dict: dict[str, Any], step: int | None = None) -> None:
        if self._resumes and step is not None:
            self._keep_rows_before(step)
        super().log_metrics(metrics_dict, step)

    def _keep_rows_before(self, step: int) -> None:
        """Drop the rows of later steps: they are trained and logged again."""
        self._resumes = False
        file = Path(self.metrics_file_path)
        text = file.read_text(encoding="utf-8")
        known = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())  # without an incomplete last line
        self.metrics_keys = list(known.fieldnames or ())
        rows = [row for row in known if row.get("step") and int(row["step"]) < step]
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(file, stream.getvalue())
