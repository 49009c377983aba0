"""Write `report.html`; an error in it does not end the run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule

from lab_engine.base.atomic_write import atomic_write
from lab_engine.config.explain import one_line
from lab_engine.reports.page import to_html

FILE = "report.html"

_log = logging.getLogger(__name__)


def write_report(
    config: Mapping[str, Any],
    data: LightningDataModule,
    task: LightningModule,
    metrics: Mapping[str, float],
    best: str,
) -> None:
    """Write `report.html` into the run folder; see `lab_engine.reports.page.to_html`."""
    task.eval()
    try:
        with torch.no_grad():
            page = to_html(config, data, task, metrics, best)
        atomic_write(Path(config["folder"]) / FILE, page, errors="replace")
    except Exception as error:  # the results are written after the report
        _log.warning("%s was not written: %s", FILE, one_line(error))
