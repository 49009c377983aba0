"""Several devices: one process each, started by PyTorch's own launcher (the one behind `torchrun`)."""

import importlib
import json
import logging
import os
import sys
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

from lenet_lab.command import EXIT_USER_ERROR, SHOW_TRACEBACK, read_config
from lenet_lab.errors import UserError
from lenet_lab.explain import explain


def device_count(trainer: dict[str, Any]) -> int:
    """How many processes `trainer.devices` asks for."""
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if devices == "auto":
        import torch

        on_gpu = trainer["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        return torch.cuda.device_count() if on_gpu else 1
    return int(devices)


def run_on_devices(module: str, config: dict[str, Any], count: int) -> dict[str, Any]:
    """Call `run` of `module` in `count` processes, from `config.yaml` in the run folder.

    If one of them fails the others are stopped.

    Returns:
        What the run wrote to `metrics.json`.

    Raises:
        UserError: of one of the processes.
        SystemExit: with status 1, for any other failure of theirs.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The processes report their own errors; the launcher would add a page to each.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(cores_per_process(count)))
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",  # a free port, so runs beside each other do not meet
        local_addr="127.0.0.1",
        max_restarts=0,
        start_method="spawn",
    )
    try:
        elastic_launch(launch, sys.executable)("-m", "lenet_lab.processes", module, config["folder"])
    except ChildFailedError as error:
        for failure in error.failures.values():
            if failure.exitcode == EXIT_USER_ERROR:
                raise UserError(failure.message) from None
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:  # it has printed its traceback
            raise SystemExit(1) from None
        raise SystemExit(f"error: the process of device {rank} has died: {failure.message}") from None
    metrics: dict[str, Any] = json.loads((Path(config["folder"]) / "metrics.json").read_text())
    return metrics


def cores_per_process(count: int) -> int:
    """An equal share of the cores that this process may use, one at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // count, 1)


def main() -> None:
    """Be one of the processes: `python -m lenet_lab.processes MODULE RUN_FOLDER`."""
    module, folder = sys.argv[1:]
    try:
        importlib.import_module(module).run(read_config(Path(folder)))
    except Exception as error:
        text = explain(error)
        if text is None or SHOW_TRACEBACK:
            traceback.print_exc()
        if text is None:
            raise SystemExit(1) from None
        # Told to the launcher rather than to the user, who would read it once for each process.
        report = {"message": text, "timestamp": int(time.time())}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(report))
        raise SystemExit(EXIT_USER_ERROR) from None


if __name__ == "__main__":
    main()
