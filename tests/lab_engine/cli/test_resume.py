"""`train resume=RUN_FOLDER`: which runs go on, from what, and what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from packaging.version import Version

from lab_engine.artifacts.run_folder import LOCK, hold
from lab_engine.base.errors import UserError
from lab_engine.cli import recorded_runs
from lab_engine.cli.recorded_runs import ROOT, Request, check_folder, parse, refuse_foreign
from lab_engine.config.command import Command, read_config
from lab_engine.runs.recorded import read_recorded, refuse_links
from lab_engine.sweeps.job import Attempt, Record, is_locked, read_record, write_record
from lenet_lab.train import COMMAND
from tests import forked
from tests.conftest import SMALL, Result, environment_in, run_command
from tests.conftest import Command as CommandLine
from tests.lab_engine.cli.test_command import HEAVY, imported

LONG = (*SMALL, "trainer.max_epochs=6", "augment=shift", "logger=none", "report=false")
SECONDS = 120
OWN_LIMIT = Version(yaml.__version__) >= Version("6.0.4")  # of PyYAML
TOO_DEEP = "exceeded maximum nesting depth" if OWN_LIMIT else "more than 50 levels"


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def cut_off(where: Path, *more: str) -> Path:
    """Begin a run and kill it once it has a checkpoint; give its folder."""
    words = [sys.executable, "-m", "lenet_lab.train", *LONG, *more, "hydra.run.dir=run"]
    process = forked.Popen(
        words, cwd=where, env=environment_in(where), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    folder, held = where / "run", []
    try:
        wait_for((folder / "checkpoints" / "last.ckpt").exists, process)
        main = psutil.Process(process.pid)
        held = [main, *main.children(recursive=True)]  # or they might come to their end before what follows
        for each in held:
            each.suspend()
        assert is_locked(folder)
        other = run_command(where, "train", f"resume={folder}")
        assert other.status == 2
        assert "is in use by another process" in other.err
    finally:
        process.kill()
        for device in held[1:]:  # each ends by itself, because the process that started it has
            device.resume()
        process.communicate()
    assert not is_locked(folder)
    assert not (folder / "metrics.json").exists()
    return folder


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_off(tmp_path_factory.mktemp("interrupted"))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Result:
    result = run_command(tmp_path_factory.mktemp("calm"), "train", *LONG)
    assert result.status == 0, result.err
    return result


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def without_time(result: Result) -> dict[str, object]:
    return {key: value for key, value in result.metrics.items() if key != "train/seconds"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != LOCK}


def only_config(source: Path, folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(source / "config.yaml", folder)
    return folder


def test_a_run_goes_on_where_it_is_now_as_if_nothing_had_happened(
    command: CommandLine, interrupted: Path, calm: Result, tmp_path: Path
) -> None:
    moved = tmp_path / "a folder" / "with = and ü"
    shutil.copytree(interrupted, moved)
    left = contents(interrupted)
    result = command("train", f"resume={moved}")
    assert result.status == 0, result.err
    assert without_time(result) == without_time(calm)
    assert all(torch.equal(tensor, weights(moved)[name]) for name, tensor in weights(calm.folder).items())
    assert (moved / "curves.csv").read_text() == (calm.folder / "curves.csv").read_text()
    config = read_config(moved)
    assert (config["folder"], config["callbacks"]["last"]["dirpath"]) == (str(moved), str(moved / "checkpoints"))
    assert contents(interrupted) == left
    assert [path.name for path in tmp_path.iterdir()] == ["a folder"]  # no other run folder, no log elsewhere
    assert "epoch 6/6" in (moved / "train.log").read_text()


def test_the_same_command_again_names_the_way_to_resume(
    command: CommandLine, interrupted: Path, digits_run: Result
) -> None:
    again = command("train", *LONG, f"hydra.run.dir={interrupted}")
    assert again.status == 2
    assert again.err == (
        f"error: {interrupted} holds a run already, and nothing in it is overwritten.\n"
        f"It is not finished: resume it with resume={interrupted}, or choose another folder with hydra.run.dir=DIR.\n"
    )
    finished = command("train", *LONG, f"hydra.run.dir={digits_run.folder}")
    assert finished.status == 2
    assert "resume" not in finished.err


def test_a_run_resumes_on_the_devices_that_are_given(command: CommandLine, interrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(interrupted, tmp_path / "moved")
    for devices in ("", "two", "null"):
        refused = command("train", "resume=moved", f"trainer.devices={devices}")
        assert "is refused: give a whole number, at least 1, a list such as [0,2], or auto (how many" in refused.err
    refused = command("train", "resume=moved", "trainer.max_epochs=1")
    assert "only trainer.devices=, --config-dir=DIR and trust=true may be given with it." in refused.err
    done = command("train", "resume=moved", "trainer.devices=2")
    assert done.status == 0, done.err
    assert read_config(tmp_path / "moved")["trainer"]["devices"] == 2


def test_a_run_without_a_checkpoint_begins_anew(
    command: CommandLine, interrupted: Path, calm: Result, tmp_path: Path
) -> None:
    result = command("train", f"resume={only_config(interrupted, tmp_path / 'anew')}")
    assert result.status == 0, result.err
    assert result.out.startswith("anew holds no checkpoint to resume from: it starts from the beginning.\n")
    assert without_time(result) == without_time(calm)


def test_a_run_that_is_done_is_left_in_peace(command: CommandLine, digits_run: Result) -> None:
    left = contents(digits_run.folder)
    result = command("train", f"resume={digits_run.folder}", options=("-X", "importtime"))
    assert result.status == 0
    assert "is done: nothing is left to do.\n" in result.out
    assert f"{digits_run.folder}/metrics.json" in result.out
    assert contents(digits_run.folder) == left
    assert not imported(result.err) & set(HEAVY)


def test_a_job_of_a_sweep_ends_done(command: CommandLine, interrupted: Path, calm: Result, tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "0"
    shutil.copytree(interrupted, folder)
    write_record(folder, Record(0, ["seed=42"], "running", "", [Attempt("elsewhere", 1, time.time())], None, "abc"))
    result = command("train", f"resume={folder}")
    assert result.status == 0, result.err
    assert without_time(result) == without_time(calm)
    record = read_record(folder)
    assert record is not None
    assert (record.state, record.settings, len(record.attempts)) == ("done", "abc", 2)
    assert all(attempt.ended for attempt in record.attempts)


def test_a_job_of_a_sweep_that_fails_says_so(command: CommandLine, interrupted: Path, tmp_path: Path) -> None:
    folder = only_config(interrupted, tmp_path / "0")
    text = (
        (folder / "config.yaml")
        .read_text()
        .replace("momentum: 0.9", "momentum: 0.0")
        .replace("nesterov: false", "nesterov: true")
    )
    (folder / "config.yaml").write_text(text)
    write_record(folder, Record(0, []))
    result = command("train", f"resume={folder}")
    assert result.status == 2
    assert "Nesterov momentum requires" in result.err
    record = read_record(folder)
    assert record is not None
    assert record.state == "failed"


@pytest.mark.slow
def test_with_two_devices(tmp_path: Path) -> None:
    two = ("trainer.devices=2", "trainer.max_epochs=10")  # of half as many steps
    expected = run_command(tmp_path, "train", *LONG, *two, "hydra.run.dir=calm")
    folder = cut_off(tmp_path, *two)
    result = run_command(tmp_path, "train", f"resume={folder}")
    assert result.status == 0, result.err
    assert without_time(result) == without_time(expected)
    assert all(torch.equal(tensor, weights(folder)[name]) for name, tensor in weights(expected.folder).items())


def test_shows_the_configuration(command: CommandLine, interrupted: Path) -> None:
    result = command("train", f"resume={interrupted}", "--cfg", "job", options=("-X", "importtime"))
    assert yaml.safe_load(result.out)["trainer"]["max_epochs"] == 6
    assert not imported(result.err) & set(HEAVY)


def test_help_tells_of_it_and_does_not_stumble_over_it(command: CommandLine) -> None:
    result = command("train", "--help", "resume=somewhere")
    assert result.status == 0, result.err
    assert "train resume=last " in result.out
    assert "train from=RUN_FOLDER" in result.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume="], "resume= is empty"),
        (["resume=run", "seed=2"], "seed=2 is refused beside resume=: a run resumes with its own settings"),
        (["resume=run", "hydra.run.dir=other"], "hydra.run.dir=other is refused beside resume="),
        (["from=run", "seed=2"], "seed=2 is refused beside from=: a run is repeated with its own settings"),
        (["resume=run", "-m"], "-m is refused beside resume="),
        (["from=run", "--multirun"], "--multirun is refused beside from="),
        (["resume=run", "--cfg", "hydra"], "--cfg hydra is refused here: give --cfg job"),
        (["resume=run", "--cfg=all"], "--cfg all is refused here"),
        (["resume=run", "-c"], "--cfg  is refused here"),
        (["resume=run", "resume=run"], "resume= is given twice"),
        (["resume=run", "from=run"], "resume= and from= are refused together"),
        (["trust=true", "data=digits"], "trust=true is refused: it is for resume=RUN_FOLDER and from=RUN_FOLDER"),
        (["resume=run", "trust="], "trust= is refused: give trust=true, or leave it out."),
        (["from=run", "trust=True"], "trust=True is refused: give trust=true, or leave it out."),
        (["from=run", "trust=\x1b[2J"], "trust=\\x1b[2J is refused: give trust=true, or leave it out."),
        (["resume=run", "trust=true", "trust=true"], "trust= is given twice"),
    ],
)
def test_what_cannot_stand_beside_it_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}") as error:
        parse(words)
    assert len(str(error.value).splitlines()) <= 2


def test_what_can_stand_beside_it() -> None:
    request = parse(["trust=true", "from=run", "--cfg=job", "hydra.run.dir=there"])
    assert request == Request("from", Path("run").absolute(), True, ("hydra.run.dir=there",), True)
    request = parse(["resume=~/x=y"])
    assert (request.folder, request.trust) == (Path("~/x=y").expanduser(), False)


def test_what_is_no_run_is_refused(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    (tmp_path / "sweep" / "0" / "job.json").touch()
    for name, message in {
        "nowhere": "there is no such folder",
        "file": "is a file",
        "empty": "holds no config.yaml",
        "sweep": f"Repeat the command that started it with hydra.sweep.dir={tmp_path}/sweep to resume it;",
    }.items():
        with pytest.raises(UserError, match=message):
            check_folder(tmp_path / name, "resume")
    with pytest.raises(UserError, match="Repeat the command that started it; for one of its jobs"):
        check_folder(tmp_path / "sweep", "from")
    result = command("train", "resume=empty")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(f"error: resume={tmp_path}/empty holds no config.yaml")
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "a: 'b", "config.yaml is not the configuration of a run: found unexpected end of stream"),
        (lambda text: "\0\1", "config.yaml is not the configuration of a run: "),
        (lambda text: "", "config.yaml is not the configuration of a run: it does not name its folder"),
        (lambda text: "[1]", "config.yaml is not the configuration of a run: it does not name its folder"),
        (lambda text: "a: 1\na: 2", "config.yaml is not the configuration of a run: found duplicate key a in line 2"),
        (lambda text: "a: &a [1]\nb: [*a, *a]\n", "config.yaml is not the configuration of a run: an alias in line 2"),
        (lambda text: text + 1_000_000 * "#", "config.yaml is not the configuration of a run: it is larger than"),
        (lambda text: 60 * "[", "config.yaml is not the configuration of a run: more than 50 levels in line"),
        (lambda text: 9000 * "[", f"config.yaml is not the configuration of a run: {TOO_DEEP} in line"),
        (
            lambda text: text.replace("seed: 42", "seed: ${oc.env:HOME}"),
            "config.yaml: seed=${oc.env:HOME} is refused: give a whole number",
        ),
        (lambda text: text.replace("lr: 0.05", "lr: -1"), "config.yaml: optimizer.lr=-1 is refused: give a number"),
        (lambda text: f"{text}unheard_of: 1\n", "config.yaml: unheard_of=1 is refused: there is no such key"),
        (lambda text: text.replace("seed: 42\n", ""), "config.yaml: seed is missing"),
    ],
)
def test_a_configuration_that_is_damaged_or_of_another_version_is_refused(
    interrupted: Path, tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(change((interrupted / "config.yaml").read_text()))
    with pytest.raises(UserError) as error:
        read_recorded(tmp_path, COMMAND)
    assert f"{tmp_path}/{message}" in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_what_a_run_was_given_by_the_machine_stays(interrupted: Path, tmp_path: Path) -> None:
    environment = json.loads((interrupted / "environment.json").read_text())
    environment |= {"threads": 3, "precision": "bf16-mixed", "speed": {**environment["speed"], "onednn": False}}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    text = (interrupted / "config.yaml").read_text().replace("precision: 32-true", "precision: auto")
    (tmp_path / "config.yaml").write_text(re.sub("onednn: .*", "onednn: auto", text))
    config = read_recorded(tmp_path, COMMAND)
    assert (config["threads"], config["trainer"]["precision"], config["speed"]["onednn"]) == (3, "bf16-mixed", False)


def test_what_the_program_chooses_is_filled_in_only_where_the_configuration_has_the_key(
    interrupted: Path, tmp_path: Path
) -> None:
    """A project whose command has no such key would else refuse what it was not told by anybody."""
    shutil.copy(interrupted / "environment.json", tmp_path)
    (tmp_path / "config.yaml").write_text("folder: /there\ntrainer: {}\nspeed: none\n")
    config = read_recorded(tmp_path, Command("own.train", check="builtins:dict", work=""))
    assert config == {"folder": str(tmp_path), "trainer": {}, "speed": "none"}


def of_my_lab(folder: Path) -> None:
    """Give the run in `folder` an optimizer and data of the user's own; whoever imports them leaves a file."""
    (folder.parent / "my_lab.py").write_text(
        "import pathlib\nfrom torch.optim import SGD\nfrom lenet_lab.data.digits import Digits\n"
        "pathlib.Path('imported').touch()\nclass Own(SGD): ...\nclass Data(Digits): ...\n"
    )
    text = (folder / "config.yaml").read_text().replace("_target_: torch.optim.SGD", "_target_: my_lab.Own")
    text = text.replace("_target_: lenet_lab.data.digits.Digits", "_target_: my_lab.Data")
    assert text.count("my_lab") == 2
    (folder / "config.yaml").write_text(text)


def test_a_run_with_classes_of_the_users_own_goes_on_without_a_word_more(
    command: CommandLine, interrupted: Path, tmp_path: Path
) -> None:
    folder = only_config(interrupted, tmp_path / "run")
    of_my_lab(folder)
    result = command("train", f"resume={folder}")
    assert result.status == 0, result.err
    assert (tmp_path / "imported").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("given_away", [".", "config.yaml"])
@pytest.mark.parametrize("key", ["resume", "from"])
def test_the_folder_of_another_user_runs_only_with_trust(
    command: CommandLine, interrupted: Path, tmp_path: Path, given_away: str, key: str
) -> None:
    folder = only_config(interrupted, tmp_path / "run")
    of_my_lab(folder)
    left = contents(folder)
    os.chown(folder / given_away, 12345, -1)
    refused = command("train", f"{key}={folder}")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.startswith(f"error: {key}={folder} is refused: user 12345 owns {folder / given_away}, ")
    assert refused.err.endswith("\nIf you trust that user, add trust=true.\n")
    assert len(refused.err.splitlines()) == 2
    assert contents(folder) == left
    assert not (tmp_path / "imported").exists()
    shown = command("train", f"{key}={folder}", "--cfg", "job")
    if key == "resume":
        assert "_target_: my_lab.Own" in shown.out
        assert not (tmp_path / "imported").exists()
    trusted = command("train", f"{key}={folder}", "trust=true")
    if key == "from":  # past the owner, and on to the next question
        assert f"from={folder} is a run that is not done" in trusted.err
    else:
        assert trusted.status == 0, trusted.err
        assert (tmp_path / "imported").exists()


def test_whose_a_folder_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").touch()
    refuse_foreign(tmp_path, "resume")
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    if tmp_path.stat().st_uid == ROOT:
        refuse_foreign(tmp_path, "resume")
        monkeypatch.setattr(recorded_runs, "ROOT", -1)
    with pytest.raises(UserError, match=rf"^from={tmp_path} is refused: (the )?user \S+ owns {tmp_path}, "):
        refuse_foreign(tmp_path, "from")
    monkeypatch.delattr(os, "geteuid")  # as on Windows
    refuse_foreign(tmp_path, "resume")


def test_a_configuration_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")  # whoever opens it to read waits for one that writes
    with pytest.raises(UserError, match=r"config\.yaml is not the configuration of a run: it is no regular file\n"):
        read_recorded(tmp_path, COMMAND)
    (tmp_path / "config.yaml").unlink()
    (tmp_path / "config.yaml").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"it is no regular file"):
        read_recorded(tmp_path, COMMAND)


def test_a_run_on_several_machines_is_left_to_slurm(command: CommandLine, interrupted: Path, tmp_path: Path) -> None:
    text = (interrupted / "config.yaml").read_text().replace("num_nodes: 1", "num_nodes: 2")
    (tmp_path / "config.yaml").write_text(text)
    result = command("train", f"resume={tmp_path}")
    assert result.status == 2
    assert result.err.startswith(f"error: {tmp_path} is a run on 2 machines")


def test_a_folder_that_is_worked_on_is_not_begun_in(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with hold(tmp_path / "run"):
        result = command("train", *SMALL)
    assert result.status == 2
    assert "is in use by another process" in result.err
    assert [file.name for file in (tmp_path / "run").iterdir()] == [LOCK]


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").touch()
    (folder / "newest").symlink_to(folder / "config.yaml")  # as W&B makes them
    refuse_links(folder)
    (folder / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"run/checkpoints is a link to a place outside\. Remove the link"):
        refuse_links(folder)


def test_signs_of_hydra_before_it_are_refused(command: CommandLine) -> None:
    result = command("train", "+resume=run")
    assert (result.status, result.err) == (2, "error: +resume=run is refused: write it as resume=run\n")
