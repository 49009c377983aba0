"""The report of a sweep of 1,000 finished jobs."""

import argparse
import resource
import time
from pathlib import Path

import runs
from part import Part

JOBS = 1000


def run(folder: Path, options: argparse.Namespace) -> Part:
    """Write 1,000 run folders with configurations of full size, and make their report with the command."""
    import yaml
    from tests.lab_engine.sweeps.sweep_folders import write_grid

    from lenet_lab.compose import compose

    part = Part("1,000 finished jobs are reported in seconds")
    sweep = folder / "sweep"
    write_grid(sweep, JOBS, epochs=20)
    whole = compose("data=digits", folder=str(folder))
    for file in sweep.glob("*/config.yaml"):
        own = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump({**whole, **own, "data": whole["data"], "model": whole["model"]}))
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    status = runs.finish(runs.start(folder, "sweep", module="sweep_report"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    part.facts = {
        "seconds": round(time.monotonic() - began, 1),
        "processor seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "report.html in MB": round((sweep / "report.html").stat().st_size / 1e6, 1) if status == 0 else "none",
    }
    if status:
        part.failures.append(f"status {status}: {(folder / 'err').read_text().strip()}")
    elif (rows := (sweep / "results.csv").read_text().count("\n")) != JOBS + 1:
        part.failures.append(f"results.csv has {rows} lines")
    return part
