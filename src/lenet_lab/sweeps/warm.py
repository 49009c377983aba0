"""What every job needs, imported once in the process that jobs are forked from.

It only imports: a thread or a GPU in use here would not survive the fork. The module of the command itself stays out;
Python imports that one anew in each job, as its main module.
"""

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import lenet_lab.build
import lenet_lab.callbacks.curves
import lenet_lab.callbacks.dashboard
import lenet_lab.callbacks.epoch_seed
import lenet_lab.callbacks.predictions
import lenet_lab.callbacks.progress
import lenet_lab.checkpoint
import lenet_lab.classifier
import lenet_lab.environment
import lenet_lab.metrics
import lenet_lab.report.page
import lenet_lab.report.write
import lenet_lab.sweeps.work
import lenet_lab.terminal  # noqa: F401
