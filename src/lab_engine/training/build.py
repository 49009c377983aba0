"""The parts of a run, made from its checked configuration."""

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from lab_engine.artifacts.checkpoint_io import AtomicCheckpointIO
from lab_engine.artifacts.run_folder import DATA_LOCK
from lab_engine.base.devices import MINUTES_TO_WAIT, cores, device_count, launched_by_slurm, threads_for
from lab_engine.base.errors import UserError
from lab_engine.config.facts import find_from_data, plain_fact, split_facts
from lab_engine.config.instantiate import build, build_taken
from lab_engine.training.compiled import compile_forward
from lab_engine.training.determinism import is_deterministic
from lab_engine.training.interface import ChecksFacts, GivesFacts, HasBatchValues
from lab_engine.training.lean_loop import use_lean_loop
from lab_engine.training.pretrained import OF_MODEL, freeze, load_pretrained
from lab_engine.training.speed import MEMORY_FORMATS, has_gpu

Config = dict[str, Any]

OF_DATA = ("takes", "gives")
OF_TASK = ("takes", "monitor", "mode", "directions", "percent")
"""Keys of `data` and `task` that are the program's business, and no arguments."""


def build_data(config: Config) -> LightningDataModule:
    """Build the data module from `data` and what it takes; nothing is loaded yet.

    Raises:
        UserError: it cannot be made.
    """
    node = config["data"]
    arguments = {key: value for key, value in node.items() if key not in OF_DATA}
    made = build(arguments, "data", **build_taken(config, "data"))
    if not isinstance(made, LightningDataModule):
        raise UserError(f"data ({node['_target_']}) makes a {type(made).__name__}: give a LightningDataModule.")
    return made


def facts_of(data: LightningDataModule, config: Config) -> dict[str, Any]:
    """Set up data that gives facts, and return them: what `from_data` stands for.

    The method `model_arguments()` of the data returns them. Data without `data.gives` is left to Lightning.

    Raises:
        UserError: it lacks a fact that `data.gives` lists and a value of the configuration stands for.
    """
    gives = config["data"].get("gives", ())
    if not gives:
        return {}
    trainer = config["trainer"]
    several = device_count(trainer) * trainer["num_nodes"] > 1
    prepares = type(data).prepare_data is not LightningDataModule.prepare_data
    with FileLock(Path(config["folder"]) / DATA_LOCK) if several and prepares else nullcontext():  # one by one
        data.prepare_data()
        data.setup("fit")
    facts: dict[str, Any] = data.model_arguments() if isinstance(data, GivesFacts) else {}
    used = {path[-1] for path in find_from_data(config)}
    if lacking := [name for name in gives if name not in facts and name in used]:
        raise UserError(
            f"data ({config['data']['_target_']}) does not give {lacking[0]}, which data.gives lists.\n"
            "Its method model_arguments() must return a dictionary that has it; or write a value in place of from_data."
        )
    return {name: plain_fact(name, value) for name, value in facts.items()}


def build_task(config: Config, facts: Mapping[str, Any]) -> LightningModule:
    """Build the task and what it takes; random weights come from torch's generator as it is now.

    Args:
        config: checked, and where it is of a training resolved by `lab_engine.training.speed.resolve_auto`.
        facts: see `facts_of`.

    Raises:
        UserError: a part cannot be made.
    """
    node, model = config["task"], config.get("model")
    if isinstance(model, dict):
        config = {**config, "model": {key: value for key, value in model.items() if key not in OF_MODEL}}
    parts = build_taken(config, "task", facts)
    started_from = _prepare(parts["model"], model) if isinstance(parts.get("model"), nn.Module) and model else ""
    speed = config.get("speed", {})
    if speed.get("compile") is not None:
        compile_forward(parts["model"], speed["compile"])
    arguments, of_data = split_facts({key: value for key, value in node.items() if key not in OF_TASK}, facts)
    made = build(arguments, "task", **of_data, **parts)
    if not isinstance(made, LightningModule):
        raise UserError(f"task ({node['_target_']}) makes a {type(made).__name__}: give a LightningModule.")
    if speed.get("memory_format", "contiguous") != "contiguous":
        nn.Module.to(made, memory_format=MEMORY_FORMATS[speed["memory_format"]])
    if isinstance(made, ChecksFacts):
        made.check_facts(facts)
    made.started_from = started_from  # type: ignore[assignment]
    return made


def _prepare(network: nn.Module, node: Mapping[str, Any]) -> str:
    """Load and freeze weights as the configuration says; return what was loaded, in words."""
    started_from = load_pretrained(network, node["init_from"]) if node.get("init_from") else ""
    if node.get("freeze"):
        freeze(network, node["freeze"])
    return started_from


def _cluster() -> ClusterEnvironment:
    """Return how this process was started; Lightning, left to find out, starts MPI where mpi4py is installed."""
    if launched_by_slurm():
        # SLURM itself requeues a job, which goes on from last.ckpt; Lightning would cut in, in the middle of an epoch
        return SLURMEnvironment(auto_requeue=False)
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()


def build_trainer(
    config: Config,
    data: LightningDataModule,
    callbacks: list[Callback],
    loggers: list[Any],
    metadata: Mapping[str, Any] | None = None,
) -> Trainer:
    """Build the Trainer and give this process its share of the cores; Lightning's own bar and tables stay off.

    Args:
        config: checked and resolved.
        data: what it trains on.
        callbacks: in the order in which Lightning calls them.
        loggers: none, too.
        metadata: that every checkpoint carries, see `lab_engine.artifacts.checkpoint.describe`.
    """
    settings = config["trainer"]
    if settings["accelerator"] in ("gpu", "cuda") and not has_gpu():
        raise UserError(
            f"trainer.accelerator={settings['accelerator']} needs a GPU, and PyTorch finds none here.\n"
            "Leave trainer.accelerator at auto; in place of speed=gpu take speed=auto."
        )
    processes = device_count(settings) * settings["num_nodes"]
    values = data.values_per_batch() if isinstance(data, HasBatchValues) else None
    torch.set_num_threads(config["threads"] or (cores() if values is None else threads_for(values)))
    precision = config.get("speed", {}).get("matmul_precision", "highest")
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"  # by default PyTorch convolves in it
    # With deterministic algorithms PyTorch would fill new memory, which takes time (4 % of a step at batch 256), and
    # would show only where an operation reads what nobody has written: a fault in any case.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    strategy = settings["strategy"]
    if isinstance(strategy, dict):
        strategy = build(strategy, "trainer.strategy")
    elif processes > 1 and strategy in ("auto", "ddp"):  # Lightning's own waits for half an hour
        strategy = DDPStrategy(timeout=timedelta(minutes=MINUTES_TO_WAIT))
    trainer: Trainer = build(
        settings,
        "trainer",
        strategy=strategy,
        callbacks=callbacks,
        deterministic=is_deterministic(config),
        logger=loggers or False,
        plugins=[AtomicCheckpointIO(config["folder"], metadata), _cluster()],
        default_root_dir=config["folder"],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    # `lab_engine.base.signals` takes signals; Lightning would talk to the other devices in the middle of anything
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if config.get("lean_loop"):  # of no use to what only evaluates
        use_lean_loop(trainer)
    return trainer
