"""The schema of `launcher` and `sweeper`, and that of `sweep_report`."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lab_engine.config.schema import AbsolutePath, Closed, Config, Mode, Natural, Positive, Target, contradiction

REPEATS = "a list of keys, such as [seed,data.fold] (jobs that differ only in these keys are one group)"


def _not_of_test(metric: str) -> str:
    if metric.startswith("test/"):
        raise ValueError
    return metric


class Launcher(Target):
    """Where the jobs of a sweep run."""

    slots: Positive | None = Field(
        None,
        description="a whole number, at least 1, or null (largest number of jobs at the same time; "
        "null: as many as fit on the machine)",
    )
    memory_gb: Annotated[float, Field(gt=0)] | None = Field(
        None, description="a number above 0, or null (memory of a job, in 10^9 bytes)"
    )
    timeout_minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="a number above 0, or null (minutes after which a job is ended; null: no limit)"
    )
    partition: str | None = Field(
        None, description="the name of a partition, or null (where the jobs wait; null: the cluster's default)"
    )
    account: str | None = Field(
        None, description="the name of an account, or null (the account that is charged; null: the cluster's default)"
    )
    qos: str | None = Field(None, description="the name of a quality of service, or null (null: the cluster's default)")
    cpus_per_task: Positive = Field(
        1, description="a whole number, at least 1 (CPU cores of each process, one a device)"
    )
    options: dict[str, str | int | float | bool | None] = Field(
        {}, description="sbatch's options by their long names, such as {exclusive: true, gres: 'gpu:a100:1'}"
    )
    seconds_between_looks: Annotated[float, Field(gt=0)] = Field(
        5.0, description="a number above 0 (seconds between looks at SLURM's queue)"
    )


class Sweeper(Closed):
    """The jobs of a sweep, and the metric that ranks them."""

    metric: Annotated[str, Field(pattern="^val/")] | None = Field(
        description="a metric of validation, such as val/loss, or null (the test set must choose nothing; null: the "
        "task's monitor)"
    )
    direction: Literal["maximize", "minimize"] | None = Field(
        description="maximize, minimize, or null (null: as the task says for the metric)"
    )
    repeats: list[str] = Field(description=REPEATS)


class SweepConfig(Closed):
    """The settings of a sweep as a whole."""

    launcher: Launcher
    sweeper: Sweeper


class Search(Sweeper):
    """The settings of a search, whose jobs are chosen while it runs."""

    trials: Positive = Field(description="a whole number, at least 1 (trials of the whole study)")
    seeds: Annotated[list[Natural], Field(min_length=1)] | None = Field(
        description="a list of whole numbers such as [1,2,3], each once, or null (each trial is a job for each seed)"
    )
    sampler: Target = Field(
        description="a sampler of Optuna with its _target_ "
        "(chosen with sweeper/sampler=OPTION: cmaes, gp, grid, qmc, random or tpe)"
    )
    pruner: Annotated[Target | None, BeforeValidator(lambda value: value or None)] = Field(
        description="a pruner of Optuna with its _target_, or null "
        "(chosen with sweeper/pruner=OPTION: hyperband, median, none or successive_halving)"
    )
    storage: Annotated[str, Field(pattern="://")] | None = Field(
        description="the address of a database, such as postgresql+psycopg://USER@HOST/NAME, or null (where the study "
        "lies; null: in the sweep folder)"
    )
    study: Annotated[str, Field(min_length=1)] | None = Field(
        description="a name, or null (of the study in the storage; null: that of the sweep folder)"
    )

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            raise contradiction(f"sweeper.seeds={self.seeds} is refused: give each once")
        return self


class SearchConfig(SweepConfig):
    """The settings of a search as a whole."""

    sweeper: Search

    @model_validator(mode="after")
    def _require_slots(self) -> Self:
        if self.launcher.slots is None and self.launcher.target.endswith(".Slurm"):
            raise contradiction(
                "launcher=slurm with a search needs launcher.slots=NUMBER, jobs at once: else all trials would be "
                "chosen before the first has ended"
            )
        return self


class SweepReportConfig(Config):
    """The configuration of `sweep_report`."""

    sweep: AbsolutePath = Field(description="the folder of a sweep")
    metric: Annotated[str, AfterValidator(_not_of_test)] | None = Field(
        description="a metric of metrics.json, such as val/loss, or null (the test set must choose nothing; null: the "
        "task's monitor)"
    )
    repeats: list[str] = Field(description=REPEATS)
    mode: Mode | None = Field(
        description="max, min, or null (whether higher or lower is better; null: as the task says)"
    )
