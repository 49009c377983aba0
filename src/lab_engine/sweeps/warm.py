"""What every job needs, imported once in the process that jobs are forked from.

It only imports: a thread or a GPU in use here would not survive the fork. What the command's work imports follows, see
`Executor.prepare`. The module of the command itself stays out; Python imports that one anew in each job, as its main
module.
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

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep to answer, which then ends its jobs
import_quickly("lightning.pytorch")
for module in MODULES:
    importlib.import_module(module)
gc.freeze()  # where the garbage collector writes, a job would get a page of its own
