"""`report.html` of a run, which no run fails for."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from lenet_lab.explain import one_line
from lenet_lab.report.page import to_html
from lenet_lab.whole_file import write_whole

FILE = "report.html"

_log = logging.getLogger(__name__)


def write_report(
    config: Mapping[str, Any],
    data: LightningDataModule,
    task: LightningModule,
    metrics: Mapping[str, float],
    best: str,
) -> None:
    """Write `report.html` into the run folder; see `lenet_lab.report.page.to_html`."""
    try:
        page = to_html(config, data, task, metrics, best)
        write_whole(Path(config["folder"]) / FILE, page, errors="replace")
    except Exception as error:  # the results of hours are still to be written
        _log.warning("%s was not written: %s", FILE, one_line(error))
