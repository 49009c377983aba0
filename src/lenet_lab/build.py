"""The parts of a run, made from its checked configuration."""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.optim import Optimizer

from lenet_lab.checkpoint import describe
from lenet_lab.checkpoint_io import WholeCheckpointIO
from lenet_lab.classifier import Classifier, Schedule
from lenet_lab.data.datamodule import ImageDataModule
from lenet_lab.determinism import is_deterministic
from lenet_lab.errors import UserError
from lenet_lab.instantiate import build, build_each, build_network, build_test_time
from lenet_lab.lean_loop import use_lean_loop
from lenet_lab.processes import MINUTES_TO_WAIT, device_count, launched_by_slurm, threads_for
from lenet_lab.schema import Loading
from lenet_lab.speed import MEMORY_FORMATS, has_gpu

Config = dict[str, Any]


def build_data(config: Config) -> ImageDataModule:
    """Make the data module: what `Loading` lists goes to it, the rest of `data` to its source."""
    loading = {key: value for key, value in config["data"].items() if key in Loading.model_fields}
    source = {key: value for key, value in config["data"].items() if key not in loading}
    augment = build_each(config.get("augment", {}), "augment")
    on_device = config.get("speed", {}).get("data_on_device", False)
    return ImageDataModule(
        build(source, "data"), augment=augment, seed=config.get("seed", 0), on_device=on_device, **loading
    )


def build_optimizer(optimizer: Config) -> Callable[..., Optimizer]:
    """Make what makes the optimizer from parameters, and try it on one: its complaints belong before training."""
    make: Callable[..., Optimizer] = build(optimizer, "optimizer")
    try:
        make([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"optimizer ({optimizer['_target_']}): {error}") from error
    return make


def build_schedule(scheduler: Config | None) -> Schedule | None:
    """Make the learning-rate schedule, or None where there is none."""
    if not scheduler:
        return None
    arguments = {key: value for key, value in scheduler.items() if key not in ("interval", "monitor")}
    return Schedule(build(arguments, "scheduler"), scheduler["interval"], scheduler.get("monitor"))


def build_classifier(config: Config, data: ImageDataModule) -> Classifier:
    """Make the classifier for these images; its weights come from torch's generator as it is now."""
    network = build_network(config["model"], data.train.image_shape, len(data.train.classes))
    return Classifier(
        network=network.to(memory_format=MEMORY_FORMATS[config["speed"]["memory_format"]]),
        classes=data.train.classes,
        optimizer=build_optimizer(config["optimizer"]),
        schedule=build_schedule(config["scheduler"]),
        loss=build(config["loss"], "loss"),
        test_time=build_test_time(config["test_time"], data.train.image_shape),
        description=describe(config, data.train),
        compile_mode=config["speed"]["compile"],
    )


def _steps(settings: Config, data: ImageDataModule, processes: int) -> int:
    """Optimizer steps of an epoch, at least 1."""
    batches = math.ceil(len(data.train_rows) / (data.batch_size * processes))
    limit = settings["limit_train_batches"]
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return max(batches // int(settings["accumulate_grad_batches"]), 1)


def _cluster() -> ClusterEnvironment:
    """Say how this process was started; Lightning, left to find out, starts MPI where mpi4py is installed."""
    if launched_by_slurm():
        # SLURM itself requeues a job, which goes on from last.ckpt; Lightning would cut in, in the middle of an epoch
        return SLURMEnvironment(auto_requeue=False)
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()


def build_trainer(config: Config, data: ImageDataModule, callbacks: list[Callback], loggers: list[Any]) -> Trainer:
    """Make the Trainer and give this process its share of the cores; Lightning's own bar and tables stay off."""
    settings = config["trainer"]
    if settings["accelerator"] in ("gpu", "cuda") and not has_gpu():
        raise UserError(
            f"trainer.accelerator={settings['accelerator']} needs a GPU, and PyTorch finds none here.\n"
            "Leave trainer.accelerator at auto; in place of speed=gpu take speed=auto."
        )
    processes = device_count(settings) * settings["num_nodes"]
    values = data.batch_size * math.prod(data.train.image_shape)
    torch.set_num_threads(config["threads"] or threads_for(values))
    precision = config.get("speed", {}).get("matmul_precision", "highest")
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"  # by default PyTorch convolves in it
    # With deterministic algorithms PyTorch would fill new memory, which takes time (4 % of a step at batch 256), and
    # would show only where an operation reads what nobody has written: a fault in any case.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    strategy = settings["strategy"]
    if processes > 1 and strategy in ("auto", "ddp"):  # Lightning's own waits for half an hour
        strategy = DDPStrategy(timeout=timedelta(minutes=MINUTES_TO_WAIT))
    trainer: Trainer = build(
        # on small data the running loss is reported at least once an epoch
        {**settings, "log_every_n_steps": min(settings["log_every_n_steps"], _steps(settings, data, processes))},
        "trainer",
        strategy=strategy,
        callbacks=callbacks,
        deterministic=is_deterministic(config),
        logger=loggers or False,
        plugins=[WholeCheckpointIO(config["folder"]), _cluster()],
        default_root_dir=config["folder"],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the loaders share the images out themselves, without padding
    )
    # signals are taken by `lenet_lab.interruption`; Lightning would talk to the other devices in the middle of anything
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if config.get("lean_loop"):  # of no use to what only evaluates
        use_lean_loop(trainer)
    return trainer
