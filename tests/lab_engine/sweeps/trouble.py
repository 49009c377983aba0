"""A callback that gets a job into trouble, for the tests."""

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback


class Trouble(Callback):
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        folder = Path(trainer.default_root_dir)
        match self.kind:
            case "raise":
                raise RuntimeError("on purpose\nwith a second line")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(7)
            case "leave":
                sys.exit("gone")
            case "hang":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
                time.sleep(1000)
            case "memory":
                import torch

                torch.empty(2**55)
            case "tell":
                told = {"environment": dict(os.environ), "pid": os.getpid(), "ppid": os.getppid()}
                told["start_method"] = multiprocessing.get_start_method()
                (folder / "told.json").write_text(json.dumps(told))
