"""The configuration keys that the engine knows: their types, their units, what is allowed.

The text of each `Field` is what a user reads when a value is refused, so it says what would be accepted. A project's
own schema has subclasses of these with the keys of its groups. A class that is `Open` may hold keys that are not listed
here; Hydra has already refused those that no file of the group names.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _absolute_database(uri: str) -> str:
    """Return the address of a SQLite database with an absolute path: a run may be resumed from another folder."""
    kind, found, path = uri.partition("sqlite:///")
    return f"{found}{_absolute(path)}" if found and not kind else uri


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
MAX_NUMBER = 2**32 - 1
"""Largest whole number of any key: the largest seed that NumPy takes."""
Positive = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
Natural = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Mode = Literal["min", "max"]
"""Whether lower or higher is better. Its order is that in the editors' schemas, on any Python."""
Share = Annotated[float, Field(gt=0, le=1)] | Positive
ABSENT: Any = None
"""Default of an optional key; null is refused as its value unless its type allows null."""
CONTRADICTION = "contradiction"
METRIC = "metric"
"""Marks a text that is the name of a metric."""
SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}  # of exported files
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")  # modes of torch.compile that use them on a GPU
CHECKPOINT = "a .ckpt file, the folder of a run, or last (the newest run)"
LIMIT = (
    "a fraction with a point, above 0.0 and up to 1.0, or a whole number, at least 1 (of the {} data, or of batches)"
)
MODE = "min, max, or null (whether lower or higher is better; null: as the task says for the metric)"


def contradiction(text: str) -> PydanticCustomError:
    """Return the error for values that cannot go together; the user reads `text`."""
    return PydanticCustomError(CONTRADICTION, "{text}", {"text": text})


class Closed(BaseModel):
    """A part with exactly the keys listed; `strict` keeps "4", 4.0 and true from passing as 4."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Open(BaseModel):
    """A part that may have more keys than those listed."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Target(Open):
    """Something to make: a class or function, and its arguments."""

    target: str = Field(alias="_target_", min_length=1, description="a class or function as package.module.Name")


Names = list[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]]


class Task(Target):
    """What is learned: a LightningModule."""

    takes: Names = Field([], description="a list of keys of the configuration, such as [model,optimizer]")
    monitor: Annotated[str, Field(pattern="^(val|train)/.")] = Field(
        description="a metric of validation, such as val/loss (the test set must choose nothing)"
    )
    mode: Mode = Field(description="min or max (whether lower or higher is better for task.monitor)")
    directions: dict[str, Mode] = Field(
        {}, description="metrics without val/ or test/, each with min or max, such as {loss: min}"
    )
    percent: list[str] = Field([], description="a list of metrics without val/ or test/, such as [error_rate]")
    training_only: Names = Field(
        [],
        description="a list of keys of the task, such as [teacher] (groups that only training needs, not evaluate, "
        "predict and export)",
    )


class Model(Target):
    """A network: any torch.nn.Module."""

    init_from: AbsolutePath | None = Field(
        ABSENT,
        description="a file of weights, or null (weights to start from; those that fit by name and shape are loaded)",
    )
    freeze: list[str] = Field(
        ABSENT,
        description="a list of patterns of parameters' names, such as ['*','!fc.*'] (weights that are not trained; "
        "with ! those that are)",
    )


class Data(Target):
    """What is learned from: a LightningDataModule."""

    takes: Names = Field([], description="a list of keys of the configuration, such as [augment,seed]")
    gives: Names = Field([], description="a list of what from_data may stand for, such as [inputs]")
    root: AbsolutePath = Field(ABSENT, description="a folder")
    batch_size: Positive = Field(
        ABSENT, description="a whole number, at least 1 (samples in a training batch on each device)"
    )
    on_device: bool | Literal["auto"] = Field(
        ABSENT, description="true, false or auto (true: all data stay in the device's memory; auto: only on a GPU)"
    )


class Optimizer(Target):
    """Any optimizer of torch.optim or the user's own."""

    lr: Annotated[float, Field(gt=0)] = Field(ABSENT, description="a number above 0 (learning rate)")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        ABSENT, description="a number from 0 to below 1 (share of the previous step that is added to the next)"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(ABSENT, description="a number, 0 or more")
    groups: dict[str, dict[str, float | bool]] = Field(
        ABSENT,
        description="patterns of parameters' names, each with settings, such as {'fc3.*': {lr: 0.1}} (groups with "
        "settings of their own)",
    )


class Callback(Target):
    """A callback, which may watch a metric: any of lightning.pytorch.callbacks or the user's own."""

    monitor: str = Field(ABSENT, description="a metric to watch, such as val/loss")
    mode: Mode | None = Field(ABSENT, description=MODE)


class Scheduler(Target):
    """Any learning-rate scheduler of torch.optim or the user's own."""

    interval: Literal["step", "epoch"] = Field(description="step or epoch (after which the learning rate changes)")
    pct_start: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="a number above 0 and below 1 (fraction of the run in which the learning rate goes up)"
    )
    monitor: Annotated[str, METRIC] = Field(ABSENT, description="a metric to watch, such as val/loss")
    mode: Mode | None = Field(None, description=MODE)


class Logger(Target):
    """Where curves go: any logger of lightning.pytorch.loggers or the user's own."""

    tracking_uri: Annotated[str, AfterValidator(_absolute_database)] = Field(
        ABSENT, description="sqlite:///FILE, made where there is none, or http://HOST:PORT"
    )


class Trainer(Target):
    """Arguments of lightning.pytorch.Trainer."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = Field(
        description="auto, cpu, gpu, mps or tpu (the hardware to use)"
    )
    devices: Positive | Annotated[list[Natural], Field(min_length=1)] | Literal["auto"] = Field(
        description="a whole number, at least 1, a list such as [0,2], or auto (how many devices, or which ones; "
        "auto: all)"
    )
    num_nodes: Positive = Field(description="a whole number, at least 1 (machines, each with trainer.devices)")
    strategy: str | Target = Field(
        description="the name of a Lightning strategy, such as auto, ddp or fsdp, or one with its _target_ and options"
    )
    precision: Literal[
        "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "transformer-engine", "auto"
    ] = Field(description="32-true, bf16-mixed, 16-mixed, bf16-true, 16-true, 64-true, transformer-engine or auto")
    max_epochs: Positive = Field(description="a whole number, at least 1 (passes over the training data)")
    max_steps: Positive | Literal[-1] = Field(
        description="a whole number, at least 1, or -1 (optimizer steps after which the run ends; -1: no limit)"
    )
    limit_train_batches: Share = Field(description=LIMIT.format("training"))
    limit_val_batches: Share = Field(description=LIMIT.format("validation"))
    limit_test_batches: Share = Field(description=LIMIT.format("test"))
    check_val_every_n_epoch: Positive = Field(description="a whole number, at least 1 (epochs between validations)")
    log_every_n_steps: Positive = Field(
        description="a whole number, at least 1 (steps between two log entries of the training loss)"
    )
    accumulate_grad_batches: Positive = Field(description="a whole number, at least 1 (batches per optimizer step)")
    gradient_clip_val: Annotated[float, Field(gt=0)] | None = Field(description="a number above 0, or null")
    profiler: Target | None = Field(description="a Lightning profiler with its _target_, or null")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if isinstance(self.devices, list) and len(set(self.devices)) < len(self.devices):
            raise contradiction(f"trainer.devices={self.devices} is refused: give each once")
        if isinstance(self.devices, list) and self.accelerator == "cpu":
            raise contradiction(
                f"trainer.devices={self.devices} cannot be used with trainer.accelerator=cpu, which is one device: "
                f"give how many processes, trainer.devices={len(self.devices)}"
            )
        return self


class Speed(Closed):
    """Settings that make a run faster and may change its numbers slightly."""

    memory_format: Literal["contiguous", "channels_last", "auto"] = Field(
        description="contiguous, channels_last or auto (order in which memory holds the weights and the outputs of "
        "layers)"
    )
    compile: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = Field(
        description="default, reduce-overhead, max-autotune, max-autotune-no-cudagraphs, or null (mode of "
        "torch.compile; null: not compiled)"
    )
    matmul_precision: Literal["highest", "high", "medium", "auto"] = Field(
        description="highest, high, medium or auto (precision of float32 matrix products and convolutions on a GPU, "
        "see torch.set_float32_matmul_precision; high is TF32)"
    )
    onednn: bool | Literal["auto"] = Field(
        description="true, false or auto (a CPU computes convolutions of training steps with Intel's library oneDNN)"
    )
    data_on_device: bool | Literal["auto"] = Field(
        description="true, false or auto (all images stay in the memory of the device that computes)"
    )


class Config(Closed):
    """Keys of every command, which the program sets itself."""

    folder: str
    choices: dict[str, Any]
    words: list[str] = []
    config_dir: str | None = None


class Parts(Config):
    """A task and the parts of it that the engine knows how to make."""

    task: Task
    model: Model = ABSENT
    optimizer: Optimizer = ABSENT
    scheduler: Annotated[Scheduler | None, BeforeValidator(lambda value: value or None)] = ABSENT


class CheckpointConfig(Parts):
    """A command that takes a trained task from a checkpoint and needs no data."""

    checkpoint: AbsolutePath = Field(description=CHECKPOINT)


class ExportConfig(CheckpointConfig):
    """`python -m my_lab.export`."""

    format: Literal["onnx", "torch"] = Field(description="onnx or torch (a .pt2 file of torch.export)")
    input: Literal["uint8", "float"] | None = Field(
        description="uint8, float, or null (pixels from 0 to 255, or from 0.0 to 1.0; null: as the task has it)"
    )
    opset: Annotated[int, Field(ge=18, le=23)] | None = Field(
        description="a whole number from 18 to 23, or null (version of ONNX's operators; null: the newest of these)"
    )
    file: AbsolutePath | None = Field(description="a path, or null (of the file to write; null: in the run folder)")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.format != "onnx" and self.opset is not None:
            raise contradiction(f"opset={self.opset} is refused: only format=onnx has one")
        suffix = SUFFIX[self.format]
        if self.file and not self.file.endswith(suffix):
            raise contradiction(
                f"file={self.file} is refused: give a path that ends in {suffix}, for format={self.format}"
            )
        return self


class RunConfig(Parts):
    """A command that runs a task on data."""

    data: Data
    trainer: Trainer
    threads: Threads | None = Field(
        description="a whole number from 1 to 1024, or null (CPU threads of each process; null: as many as a batch "
        "can keep busy)"
    )
    deterministic: bool | None = Field(
        None,
        description="true, false, or null (true: the same command and seed give the same weights, bit for bit; null: "
        "true on a CPU, false on a GPU)",
    )

    @model_validator(mode="after")
    def _keep_one_place_for_determinism(self) -> Self:
        more = self.trainer.model_extra or {}
        if "deterministic" in more:
            raise contradiction(
                f"trainer.deterministic={more['deterministic']} is refused: give deterministic=true, false or "
                "null, without trainer"
            )
        if self.deterministic and more.get("benchmark"):
            raise contradiction(
                "trainer.benchmark=true cannot be used with deterministic=true: it chooses algorithms by their times, "
                "which are never the same twice"
            )
        return self


class TrainConfig(RunConfig):
    """`python -m my_lab.train`."""

    seed: Natural = Field(description="a whole number, 0 or more (seed of the weights and of the order of samples)")
    lean_loop: bool = Field(
        True, description="true or false (true: a shorter loop over the batches; false: Lightning's own)"
    )
    report: bool = Field(True, description="true or false (true: write report.html)")
    speed: Speed
    callbacks: dict[str, Callback | None] = Field(description="named callbacks, each with a _target_")
    logger: dict[str, Logger | None] = Field(description="named loggers, each with a _target_")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        trainer = self.trainer
        clips = trainer.gradient_clip_val is not None and trainer.precision.endswith(("mixed", "auto"))
        if clips and getattr(self.optimizer, "fused", False):
            raise contradiction(
                f"trainer.gradient_clip_val with trainer.precision={trainer.precision} cannot be used with a fused "
                "optimizer: add optimizer.fused=false"
            )
        if self.speed.compile in CUDA_GRAPHS and trainer.accumulate_grad_batches > 1:
            raise contradiction(
                f"speed.compile={self.speed.compile} cannot be used with "
                f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: the next CUDA graph would "
                "overwrite the gradients; give speed.compile=default"
            )
        if trainer.check_val_every_n_epoch > trainer.max_epochs:
            raise contradiction(
                f"trainer.check_val_every_n_epoch={trainer.check_val_every_n_epoch} is more than "
                f"trainer.max_epochs={trainer.max_epochs}: there would be no validation to choose a checkpoint by"
            )
        return self
