"""A search: what it asks for, what it tells, and that nothing is lost or told twice whatever dies."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import optuna
import pytest
import sqlalchemy
import yaml
from optuna.trial import FrozenTrial, TrialState

from lab_engine.base.errors import UserError
from lab_engine.config.command import config_folder
from lab_engine.config.hydra_version import BASE
from lab_engine.sweeps.job import read_record, state_of
from lab_engine.sweeps.search import SearchPlan
from lab_engine.sweeps.settings import check_sweep
from tests import forked
from tests.lab_engine.sweeps.conftest import TINY, Sweep, sweep_command, wait_until
from tests.lab_engine.sweeps.postgres import server
from tests.lab_engine.sweeps.quick import EPOCHS, accuracy, search

X = "x=interval(0,1)"
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 1}
GRID = {"_target_": "optuna.samplers.GridSampler", "seed": 0}


def trials(folder: Path, storage: str | None = None, name: str = "sweep") -> list[FrozenTrial]:
    options = {"poolclass": sqlalchemy.NullPool}
    known = optuna.storages.RDBStorage(storage or f"sqlite:///{folder}/study.db", engine_kwargs=options)
    return optuna.load_study(study_name=name, storage=known).get_trials()


def states(folder: Path, **study: str) -> dict[str, int]:
    return dict(Counter(trial.state.name for trial in trials(folder, **study)))


def ends(folder: Path) -> list[str]:
    """How often a job of the sweep has ended, in all its processes."""
    return [line.split()[0] for file in folder.rglob("ends") for line in file.read_text().splitlines()]


def settings(*overrides: str) -> dict[str, Any]:
    """`sweeper` as a command line gives it."""
    with hydra.initialize_config_dir(str(config_folder("lenet_lab")), **BASE):
        config = hydra.compose("train", overrides=["sweeper=optuna", *overrides], return_hydra_config=True)
    return check_sweep(config)["sweeper"]


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_job_gets_exactly_what_its_trial_says(tmp_path: Path) -> None:
    executor = search(tmp_path, {"trials": 7}, ["data=digits", X, "+n=tag(log,int(interval(1,500)))", "k=a,'b c'"])
    found = trials(tmp_path)
    assert [trial.number for trial in found] == list(range(7))
    assert executor.most == 2
    for trial in found:
        words = read_record(tmp_path / str(trial.number)).overrides
        assert [word.partition("=")[0] for word in words] == ["data", "x", "+n", "k"]
        assert float(words[1].removeprefix("x=")) == trial.params["x"]
        assert int(words[2].removeprefix("+n=")) == trial.params["n"]
        assert words[3] == {"a": "k=a", "b c": "k='b c'"}[trial.params["k"]]
        assert trial.value == accuracy({"x": trial.params["x"]}, EPOCHS)
    assert len({trial.params["x"] for trial in found}) == 7


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("random", "grid", "qmc", "gp")]


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", *LONG])
def test_any_sampler_of_optuna_may_choose(tmp_path: Path, sampler: str) -> None:
    needs = {"qmc": "scipy", "gp": "scipy", "cmaes": "cmaes"}
    chosen = settings(f"sweeper/sampler={sampler}", "sweeper.trials=9", "sweeper/pruner=none")
    if "n_startup_trials" in chosen["sampler"]:
        chosen["sampler"]["n_startup_trials"] = 4
    if sampler in needs:
        try:
            __import__(needs[sampler])
        except ImportError:
            with pytest.raises(
                UserError, match=rf"needs the package {needs[sampler]}: pip install -e '.*\[samplers\]'"
            ):
                search(tmp_path, chosen, [X])
            return
    if sampler == "grid":
        with pytest.raises(UserError, match="x has infinitely many values, and the grid sampler tries all"):
            search(tmp_path, chosen, [X])
        search(tmp_path, chosen, ["x=range(0,1,0.25)", "k=a,b"])
        assert len({tuple(trial.params.values()) for trial in trials(tmp_path)}) == 8  # not 9: there are no more
    else:
        search(tmp_path, chosen, [X, "k=a,b"])
    assert states(tmp_path) == {"COMPLETE": 8 if sampler == "grid" else 9}


def test_a_model_finds_more_than_chance(tmp_path: Path) -> None:
    search(tmp_path, settings("sweeper.trials=25", "sweeper.pruner=null", "sweeper.sampler.seed=3"), [X], slots=1)
    late = [abs(trial.params["x"] - 0.7) for trial in trials(tmp_path)[15:]]
    assert sum(late) / len(late) < 0.2  # at random: 0.29


def test_a_hopeless_job_is_stopped_while_it_runs(tmp_path: Path) -> None:
    search(tmp_path, {"pruner": MEDIAN, "trials": 12}, [X])
    found = trials(tmp_path)
    pruned = [trial for trial in found if trial.state == TrialState.PRUNED]
    assert 0 < len(pruned) < 12
    assert states(tmp_path) == {"PRUNED": len(pruned), "COMPLETE": 12 - len(pruned)}
    for trial in pruned:
        folder = tmp_path / str(trial.number)
        record = read_record(folder)
        assert not (folder / "metrics.json").exists()
        assert state_of(folder, record) == "pruned"
        assert record.reason == trial.user_attrs["reason"]
        steps = trial.intermediate_values
        assert record.reason == f"pruned after epoch {len(steps)}: val/accuracy {steps[len(steps)]:.3f}"
        assert steps == {epoch: accuracy({"x": trial.params["x"]}, epoch) for epoch in range(1, len(steps) + 1)}


def test_the_mean_of_several_seeds_is_told(tmp_path: Path) -> None:
    search(tmp_path, {"seeds": [1, 2, 3], "trials": 3, "pruner": MEDIAN | {"n_startup_trials": 9}}, [X], slots=2)
    for trial in trials(tmp_path):
        each = [accuracy({**trial.params, "seed": seed}, EPOCHS) for seed in (1, 2, 3)]
        assert trial.value == pytest.approx(sum(each) / 3, abs=1e-12)
        assert set(trial.intermediate_values) == {1, 2, 3, 4}  # once the last seed has come so far
        folders = [tmp_path / f"{trial.number}/seed={seed}" for seed in (1, 2, 3)]
        assert [read_record(folder).overrides[-1] for folder in folders] == ["seed=1", "seed=2", "seed=3"]
    assert ends(tmp_path) == ["done"] * 9
    assert sorted(read_record(file.parent).number for file in tmp_path.rglob("job.json")) == list(range(9))


def test_all_seeds_of_a_hopeless_trial_are_stopped(tmp_path: Path) -> None:
    search(tmp_path, {"seeds": [1, 2], "trials": 8, "pruner": MEDIAN, "sampler": GRID}, ["x=range(0,0.8,0.1)"])
    pruned = [trial.number for trial in trials(tmp_path) if trial.state == TrialState.PRUNED]
    assert pruned
    for number in pruned:
        for seed in (1, 2):
            folder = tmp_path / f"{number}/seed={seed}"
            assert state_of(folder, read_record(folder)) == "pruned"


def test_failures_are_told_and_the_search_goes_on(tmp_path: Path) -> None:
    chosen = {"sampler": GRID, "trials": 9}
    search(tmp_path, chosen, ["+kind=none,fail,nan", "x=0.5,0.6,2"])
    why = {tuple(trial.params.values()): trial.user_attrs.get("reason") for trial in trials(tmp_path)}
    assert states(tmp_path) == {"COMPLETE": 2, "FAIL": 7}
    for x in ("0.5", "0.6"):
        assert why["none", x] is None
        assert why["fail", x] == "failed: ValueError: on purpose"
        assert why["nan", x] == "val/accuracy is missing or not finite"
    assert {why[kind, "2"] for kind in ("none", "fail", "nan")} == {"x=2 is refused: give a number up to 1"}


def test_a_diverged_job_that_is_stopped_has_failed(tmp_path: Path) -> None:
    chosen = {"sampler": GRID, "trials": 4, "pruner": MEDIAN}
    search(tmp_path, chosen, ["+kind=none,nan", "x=0.6,0.7"], slots=1)
    for trial in trials(tmp_path):
        assert (trial.state == TrialState.FAIL) == (trial.params["kind"] == "nan")


def test_a_failure_that_was_not_told_is_told_later(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SearchPlan, "_tell", interrupt)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path, {"trials": 1, "seeds": [1, 2]}, ["+kind=fail,fail"], slots=1)
    assert states(tmp_path) == {"RUNNING": 1}
    search(tmp_path, {"trials": 1, "seeds": [1, 2]}, ["+kind=fail,fail"])
    (trial,) = trials(tmp_path)
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, "failed: ValueError: on purpose")
    assert ends(tmp_path) == ["failed"]


def test_a_failed_seed_ends_its_trial(tmp_path: Path) -> None:
    search(tmp_path, {"seeds": [1, 2, 3], "trials": 2}, ["+kind=fail,fail"], slots=1)
    assert states(tmp_path) == {"FAIL": 2}
    for number in (0, 1):
        records = [read_record(tmp_path / f"{number}/seed={seed}") for seed in (1, 2, 3)]
        assert [record.state for record in records] == ["failed", "pruned", "pruned"]
        assert records[1].reason == "its trial was given up: failed: ValueError: on purpose"


def test_a_command_of_which_nothing_is_allowed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is refused: give a number up to 1"):
        search(tmp_path, {"trials": 50}, ["x=interval(2,3)"])
    assert states(tmp_path) == {"FAIL": 3}


def test_the_values_do_not_depend_on_who_draws_them(tmp_path: Path) -> None:
    search(tmp_path / "a", {"trials": 6}, [X], slots=3)
    for count in (2, 3, 6):
        search(tmp_path / "b", {"trials": count}, [X], slots=1)
    assert [trial.params for trial in trials(tmp_path / "a")] == [trial.params for trial in trials(tmp_path / "b")]
    assert ends(tmp_path / "b") == ["done"] * 6


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep folder with a study of one trial."""
    folder = tmp_path_factory.mktemp("begun")
    search(folder, {"trials": 1}, [X])
    return folder


@pytest.mark.parametrize(
    ("changed", "words", "message"),
    [
        ({"direction": "minimize"}, [X], "is to maximize val/accuracy, not minimize val/accuracy"),
        ({"metric": "val/loss"}, [X], "is to maximize val/accuracy, not maximize val/loss"),
        ({}, ["x=1,2"], "has other values of x: FloatDistribution"),
        ({"storage": "nothing://here"}, [X], "sweeper.storage=nothing://here cannot be used: "),
        ({"storage": "mysql+pymysql://me:secret@host/x"}, [X], r"me:\*\*\*@host/x needs the package pymysql"),
        ({"storage": "sqlite:////no/such/folder/x.db"}, [X], "cannot be used: "),
        ({"sampler": {"_target_": "optuna.samplers.TPESampler", "speed": 1}}, [X], "sweeper.sampler.speed is refused"),
        ({"pruner": {"_target_": "optuna.pruners.NoPruner"}}, [X], "sweeper.pruner (.*NoPruner"),
        ({"seeds": [1, 2]}, [X, "seed=3"], "seed is given twice"),
    ],
)
def test_what_cannot_be_is_refused(begun: Path, changed: dict[str, Any], words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(.*", r"\(.*")):
        search(begun, {"trials": 1, **changed}, words)
    assert states(begun) == {"COMPLETE": 1}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweeper.metric=test/accuracy"], "sweeper.metric=test/accuracy is refused: give a metric of validation"),
        (["sweeper.seeds=[1,1]"], r"sweeper.seeds=\[1, 1\] is refused: give each once"),
        (["sweeper.trials=0"], "sweeper.trials=0 is refused: give a whole number, at least 1"),
        (["sweeper.storage=study.db"], "sweeper.storage=study.db is refused: give the address of a database"),
        (["+sweeper.trial=3"], "sweeper.trial=3 is refused: there is no such key"),
        (["launcher=slurm"], "launcher=slurm with a search needs launcher.slots=NUMBER, jobs at once"),
    ],
)
def test_wrong_settings_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(*overrides)


def start(folder: Path, chosen: dict[str, Any], *words: str, seconds: float = 0.01) -> subprocess.Popen[bytes]:
    """A search in a process of its own, with jobs whose epochs take these seconds."""
    search = [str(seconds), str(folder), json.dumps(chosen), *words]
    command = [sys.executable, "-m", "tests.lab_engine.sweeps.quick", *search]
    return forked.Popen(command, cwd=Path(__file__).parents[3])


def wait_or_end(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: true() or process.poll() is not None)


def reports(folder: Path) -> int:
    """Rows of all curves."""
    return sum(file.read_text().count("\n") - 1 for file in folder.rglob("curves.csv"))


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    chosen = {"trials": 6, "seeds": [1, 2], "pruner": MEDIAN | {"n_startup_trials": 99}}
    search(tmp_path / "calm", chosen, [X])
    moments = np.random.default_rng(0)
    folder, killed = tmp_path / "killed", 0
    while True:
        more = reports(folder) + moments.integers(4, 12)
        process = start(folder, chosen, X)
        wait_or_end(lambda more=more: reports(folder) > more, process)
        time.sleep(moments.random() / 50)
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL
        killed += 1
    assert killed > 1
    assert len(list(folder.rglob("metrics.json"))) == 12
    for calm, found in zip(trials(tmp_path / "calm"), trials(folder), strict=True):
        assert (calm.params, calm.value, calm.state) == (found.params, found.value, found.state)
        assert calm.intermediate_values == found.intermediate_values


def test_each_sweep_continues_its_own_trials(tmp_path: Path) -> None:
    shared = {"storage": f"sqlite:///{tmp_path}/shared.db", "name": "ours"}
    chosen = {"storage": shared["storage"], "study": "ours", "trials": 3}
    for folder in ("a", "b"):  # each is killed by its first job, in the first attempt
        assert start(tmp_path / folder, chosen, "+kind=kill,kill").wait() == -signal.SIGKILL
    assert states(tmp_path, **shared) == {"RUNNING": 3}
    assert start(tmp_path / "a", chosen, "+kind=kill,kill").wait() == 0
    assert states(tmp_path, **shared) == {"COMPLETE": 2, "RUNNING": 1}
    assert start(tmp_path / "b", chosen, "+kind=kill,kill").wait() == 0
    assert states(tmp_path, **shared) == {"COMPLETE": 3}
    assert ends(tmp_path) == ["done"] * 3


def test_a_changed_command_does_not_spoil_what_was_begun(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    assert start(folder, {"trials": 2}, "+kind=kill,kill", "n=1").wait() == -signal.SIGKILL
    assert start(folder, {"trials": 2}, "+kind=kill,kill", "n=2").wait() == 1
    assert states(folder) == {"RUNNING": 2}
    assert start(folder, {"trials": 2}, "+kind=kill,kill", "n=1").wait() == 0
    assert states(folder) == {"COMPLETE": 2}


@pytest.mark.slow
def test_two_processes_share_a_study_and_a_folder(tmp_path: Path) -> None:
    # long enough for the second to come in time
    processes = [start(tmp_path, {"trials": 16, "pruner": MEDIAN}, X, seconds=0.2) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    found = trials(tmp_path)
    assert {trial.state for trial in found} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len({trial.params["x"] for trial in found}) == len(found) == len(ends(tmp_path)) == 16
    workers = [line.split()[1] for file in tmp_path.rglob("ends") for line in file.read_text().splitlines()]
    assert set(workers) == {str(process.pid) for process in processes}


@pytest.mark.slow
def test_two_processes_share_a_study_in_postgresql(tmp_path: Path) -> None:
    with server() as storage:
        chosen = {"storage": storage, "study": "ours", "trials": 16, "pruner": MEDIAN}
        dead = start(tmp_path / "a", chosen, X)
        wait_or_end(lambda: reports(tmp_path) > 6, dead)
        dead.kill()
        dead.wait()
        processes = [start(tmp_path / folder, chosen, X) for folder in ("a", "b")]
        assert [process.wait() for process in processes] == [0, 0]
        found = trials(tmp_path, storage=storage, name="ours")
        assert {trial.state for trial in found} <= {TrialState.COMPLETE, TrialState.PRUNED}
        assert len({trial.params["x"] for trial in found}) == len(found) == len(ends(tmp_path)) == 16
        assert all((tmp_path / folder / ".study").exists() for folder in ("a", "b"))
        with pytest.raises(UserError, match=r"cannot be used: .*no-such-base"):
            search(tmp_path / "c", {**chosen, "storage": storage.replace("/postgres", "/no-such-base")}, [X])
    with pytest.raises(UserError, match="cannot be used: "):  # the server has gone
        search(tmp_path / "c", chosen, [X])


@pytest.mark.slow
def test_a_search_prunes_real_jobs(sweep: Callable[..., Sweep]) -> None:
    words = ["sweeper=optuna", "sweeper/sampler=grid", "sweeper.pruner.n_startup_trials=1", "launcher.slots=1"]
    done = sweep(*TINY, *words, "optimizer.lr=0.05,1e-09", "trainer.max_epochs=30", "sweeper.sampler.seed=1")
    assert done.status == 0, done.out + done.err
    assert "study sweep" in done.out
    found = {trial.params["optimizer.lr"]: trial for trial in trials(done.folder)}
    assert found[0.05].state == TrialState.COMPLETE
    assert found[1e-9].state == TrialState.PRUNED
    assert 0 < found[1e-9].last_step < 30
    for trial in found.values():
        job = done.folder / str(trial.number)
        config = yaml.safe_load((job / "config.yaml").read_text())
        assert config["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert config["trainer"]["max_epochs"] == 30
    assert found[0.05].value == done.metrics(str(found[0.05].number))["val/accuracy"]


@pytest.mark.slow
def test_real_jobs_of_a_killed_command_are_finished_by_another(tmp_path: Path) -> None:
    words = [*TINY, "sweeper=optuna", "sweeper.trials=3", "sweeper.seeds=[1,2]", "launcher.slots=1"]
    words += ["optimizer.lr=tag(log,interval(0.01,0.1))", "trainer.max_epochs=2"]
    command, environment, folder = sweep_command(tmp_path, *words)
    log = (tmp_path / "log").open("w")
    killed, other = (forked.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log) for _ in range(2))
    with log:
        wait_or_end(lambda: len(list((folder / ".study").glob("*.lock"))) == 2, killed)  # each has begun a trial
        wait_or_end(lambda: any(folder.rglob("curves.csv")), killed)
        killed.kill()
        killed.wait()
        assert other.wait() == 0, (tmp_path / "log").read_text()
    files = sorted(folder.rglob("job.json"))
    found = {str(file.parent.relative_to(folder)): state_of(file.parent, read_record(file.parent)) for file in files}
    assert found == {f"{trial}/seed={seed}": "done" for trial in range(3) for seed in (1, 2)}
    for trial in trials(folder):
        read = [json.loads((folder / f"{trial.number}/seed={seed}/metrics.json").read_text()) for seed in (1, 2)]
        assert trial.value == pytest.approx(sum(metrics["val/accuracy"] for metrics in read) / 2, abs=1e-12)
        assert set(trial.intermediate_values) == {1, 2}


def test_the_dashboard_opens_a_study(begun: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    from wsgiref.util import setup_testing_defaults

    request: dict[str, Any] = {"PATH_INFO": "/api/studies"}
    setup_testing_defaults(request)
    answer = b"".join(dashboard.wsgi(f"sqlite:///{begun}/study.db")(request, lambda *status: None))
    (study,) = json.loads(answer)["study_summaries"]
    assert study["study_name"] == "sweep"
