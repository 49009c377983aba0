"""Render `page.html`, the report of a run, from its results and the files in its folder."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from jinja2 import Environment as Templates
from jinja2 import StrictUndefined
from lightning.pytorch import LightningDataModule, LightningModule
from markupsafe import Markup
from omegaconf import OmegaConf

from lab_engine.artifacts.checkpoint import read_checkpoint
from lab_engine.artifacts.curves import read_curves
from lab_engine.artifacts.environment import Environment, Git, read_environment
from lab_engine.artifacts.results import COUNT
from lab_engine.base.program import short
from lab_engine.base.wording import counted, is_percent, metric
from lab_engine.config.command_line import without_passwords
from lab_engine.reports.chart import Line, line_chart
from lab_engine.training.interface import Describes, Reports, describe_task

PAGE = Path(__file__).with_name("page.html")
LOOK = Path(__file__).with_name("look.css")
TEMPLATE = Templates(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    PAGE.read_text(encoding="utf-8")
)
"""Jinja escapes every value except those marked as `Markup` or `safe`."""


def to_html(
    config: Mapping[str, Any],
    data: LightningDataModule,
    task: LightningModule,
    metrics: Mapping[str, float],
    best: str,
) -> str:
    """Return an HTML page that needs no other file and no network, and holds no script.

    Args:
        config: of the run, checked.
        data: after `setup`.
        task: with the tested weights.
        metrics: as in `metrics.json`.
        best: path of the chosen checkpoint, or empty if there is none.
    """
    folder = Path(config["folder"])
    curves = read_curves(folder / "curves.csv")
    environment = read_environment(folder)
    chosen = _chosen(best, curves)
    percent, monitor = config["task"].get("percent", ()), config["task"]["monitor"].partition("/")[2]
    headline = next((name for name in (f"test/{monitor}", f"val/{monitor}") if name in metrics), None)
    return TEMPLATE.render(
        look=Markup(LOOK.read_text(encoding="utf-8")),  # noqa: S704 - ours
        name=folder.name or "/",
        result="" if headline is None else _metric(headline, metrics[headline], percent),
        folder=short(folder),
        when=_when(environment),
        command=environment.command if environment else "",
        facts=_facts(config, data, task, metrics, chosen, bool(best)),
        charts=list(_charts(curves, percent, chosen)),
        chosen=chosen,
        validations=len(curves),
        not_finite=sum(not math.isfinite(value) for row in curves for value in row.values()),
        sections=task.report_sections(data) if isinstance(task, Reports) else [],
        config=without_passwords(OmegaConf.to_yaml(dict(config))),
        environment=_environment_rows(environment),
    )


def _charts(curves: Sequence[Mapping[str, float]], percent: Sequence[str], chosen: float | None) -> Iterator[Markup]:
    """Draw a chart per metric, with training and validation together; metrics of parts (val/NAME/PART) have none."""
    names = dict.fromkeys(name for row in curves for name in row if name.count("/") == 1)
    for each in dict.fromkeys(name.partition("/")[2] for name in names):
        lines = [_line(name, curves) for name in (f"train/{each}", f"val/{each}") if name in names]
        title = each[:1].upper() + each[1:].replace("_", " ")
        yield line_chart(title, lines, percent=is_percent(f"val/{each}", percent), chosen=chosen)


def _metric(name: str, value: float, percent: Sequence[str]) -> str:
    """Format a metric as the report of a sweep does."""
    return f"{100 * value:.2f} %" if is_percent(name, percent) else metric(name, value, percent)


def _chosen(best: str, curves: Sequence[Mapping[str, float]]) -> float | None:
    """Return the epoch of the chosen checkpoint, if `curves.csv` has a row of its step."""
    if not best:
        return None
    step = read_checkpoint(Path(best))["global_step"]
    return next((row["epoch"] for row in curves if row["step"] == step), None)


def _line(name: str, curves: Sequence[Mapping[str, float]]) -> Line:
    return Line(name, [(row["epoch"], row[name]) for row in curves if name in row])


def _when(environment: Environment | None) -> str:
    """Return when the run started and how long it took; of an interrupted run, when it started and ended."""
    ended = datetime.now().astimezone().replace(microsecond=0)
    if environment is None:
        return f"Ended {_time(ended)}"
    started = environment.started
    if started.timestamp() < psutil.Process().create_time() - 1:  # written by an earlier process of this run
        return f"Started {_time(started)}, interrupted, ended {_time(ended)}"
    return f"Started {_time(started)}, took {duration((ended - started).total_seconds())}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z").strip()


def duration(seconds: float) -> str:
    """Format seconds: 4 s, 0:03:12."""
    return f"{seconds:.3g} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _facts(
    config: Mapping[str, Any],
    data: LightningDataModule,
    task: LightningModule,
    metrics: Mapping[str, float],
    chosen: float | None,
    has_checkpoint: bool,
) -> list[tuple[str, str, str]]:
    """Return the facts of the summary, each as label, value and additional text."""
    percent, monitor = config["task"].get("percent", ()), config["task"]["monitor"].partition("/")[2]
    of = "the last weights" if not has_checkpoint else "the chosen checkpoint"
    after = "" if chosen is None else f", epoch {chosen:g} of {config['trainer']['max_epochs']}"

    def measured(stage: str) -> tuple[str, str]:
        names = [name for name in metrics if name.startswith(f"{stage}/") and name.count("/") == 1]
        count = f"{stage}/{COUNT}"
        first = f"{stage}/{monitor}" if f"{stage}/{monitor}" in names else next(iter(names), "")
        rest = [name for name in names if name not in (first, count)]
        more = [counted(int(metrics[count]), "sample")] if count in metrics else []
        more += [f"{name.partition('/')[2]} {_metric(name, metrics[name], percent)}" for name in rest]
        return first, ", ".join(more)

    facts = []
    for stage, note in (("test", ""), ("val", f"{of}{after}")):
        name, more = measured(stage)
        if name:
            facts.append((name, _metric(name, metrics[name], percent), "; ".join(filter(None, (more, note)))))
    facts.append(
        (
            "training",
            duration(metrics["train/seconds"]),
            f"{counted(int(metrics['train/steps']), 'step')}, without validation and test",
        )
    )
    lines = {**describe_task(task), **(data.describe() if isinstance(data, Describes) else {})}
    if "data" in lines:
        lines["data"] = ": ".join(filter(None, (config["choices"].get("data"), lines["data"])))
    for label, text in lines.items():
        if text:
            value, _, rest = text.partition(", ")
            facts.append((label, value, rest))
    return facts


def _environment_rows(environment: Environment | None) -> list[tuple[str, str]]:
    if environment is None:
        return []
    rows = {
        **environment.versions,
        "system": environment.system,
        "processor": environment.cpu,
        "cores": f"{environment.cores}",
        "memory": f"{environment.memory_gb:g} GB",
        "computed on": environment.device,
        "GPUs": ", ".join(environment.gpus),
        "git": _git(environment.git),
        "data": f"SHA-256 {environment.data[:16]}…" if environment.data else "",
    }
    return [(name, value) for name, value in rows.items() if value]


def _git(git: Git) -> str:
    if git.commit is None:
        return f"unknown: {git.reason}"
    on = f" on {git.branch}" if git.branch else ""
    return f"{git.commit}{on}, {'with uncommitted changes' if git.dirty else 'without uncommitted changes'}"
