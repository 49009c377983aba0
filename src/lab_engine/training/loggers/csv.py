"""Curves as CSV."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lab_engine.base.atomic_write import atomic_write


class CSV(CSVLogger):
    """Lightning's, but a run that goes on adds to its file, and does not delete it; arguments as there."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """What writes."""
        if self._experiment is None:
            self._experiment = _ContinuedWriter(self.log_dir)
        return self._experiment  # type: ignore[return-value]


class _ContinuedWriter(ExperimentWriter):
    _goes_on = False

    def _check_log_dir_exists(self) -> None:
        """Read an earlier file where Lightning would delete it."""
        self._goes_on = Path(self.metrics_file_path).exists()

    def log_metrics(self, metrics_dict: dict[str, Any], step: int | None = None) -> None:
        if self._goes_on and step is not None:
            self._go_on(step)
        super().log_metrics(metrics_dict, step)

    def _go_on(self, step: int) -> None:
        """Keep the rows of earlier steps: those from here on were of epochs that are trained again."""
        self._goes_on = False
        file = Path(self.metrics_file_path)
        text = file.read_text()
        known = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())  # not a line that was cut off
        self.metrics_keys = list(known.fieldnames or ())
        rows = [row for row in known if row.get("step") and int(row["step"]) < step]
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(file, stream.getvalue())
