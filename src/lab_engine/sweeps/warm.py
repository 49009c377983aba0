"""Imports that every job needs, done once in the fork server, from which jobs are forked.

Nothing here may start a thread or use a GPU: neither survives a fork. `Executor.prepare` adds the modules of the
command's work. The command's own module is left out: each job imports it again, as its main module.
"""

import gc
import importlib
import signal

from lab_engine.base.imports import import_quickly

MODULES = (
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "torch.utils.tensorboard",
    "lab_engine.sweeps.worker",
)

signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the controller stops the jobs
import_quickly("lightning.pytorch")
for module in MODULES:
    importlib.import_module(module)
gc.freeze()  # the garbage collector would write to shared pages, and each job would get copies of them
