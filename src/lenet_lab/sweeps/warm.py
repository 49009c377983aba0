"""What every job needs, imported once in the process that jobs are forked from.

It only imports: a thread or a GPU in use here would not survive the fork. The module of the command itself stays out;
Python imports that one anew in each job, as its main module.
"""

import gc
import importlib
import signal

from lenet_lab.imports import import_quickly

MODULES = (
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "torch.utils.tensorboard",
    "lenet_lab.build",
    "lenet_lab.callbacks.curves",
    "lenet_lab.callbacks.epoch_seed",
    "lenet_lab.callbacks.progress",
    "lenet_lab.checkpoint",
    "lenet_lab.environment",
    "lenet_lab.report.page",
    "lenet_lab.report.write",
    "lenet_lab.sweeps.work",
    "lenet_lab.terminal",
)

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep to answer, which then ends its jobs
import_quickly("lightning.pytorch")
for module in MODULES:
    importlib.import_module(module)
gc.freeze()  # where the garbage collector writes, a job would get a page of its own
