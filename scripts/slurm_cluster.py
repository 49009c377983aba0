"""A SLURM cluster on this machine, to try and to test `launcher=slurm`.

    eval "$(python scripts/slurm_cluster.py start FOLDER --nodes 2)"    start one; this shell's sbatch then uses it
    python scripts/slurm_cluster.py stop FOLDER                         end it and all its jobs
    python scripts/slurm_cluster.py run [--nodes 2] FOLDER COMMAND…     start, run a command, stop; with its exit status

It runs munged, slurmctld and a slurmd for each node, on free ports of the loopback interface, as root and without
systemd. Their files are in FOLDER, and clusters in several folders are independent. Partitions: "main", and "urgent",
whose jobs preempt those of main (which are requeued). Debian's packages: slurm-wlm and munge. Exit status 2 if refused.
"""

import argparse
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
DAEMONS = ("munged", "slurmctld", "slurmscriptd", "slurmd", "slurmstepd")  # as `/proc` names what belongs to a cluster
SECONDS_TO_START = 30
MAX_FOLDER = 70  # characters: names of sockets below it must be shorter than 108

# Waiting times are short: until a requeued job may start again (the lifetime of a credential, at least 5 s), from
# SIGTERM to SIGKILL, and until a job that could run starts.
CONFIGURATION = """\
ClusterName=one_machine
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
JobRequeue=1
KillWait=5
OverTimeLimit=0
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=2
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory}"


class RefusedError(Exception):
    """An error that the user can fix; the text names the value, the cause and the cure in one or two lines."""


def start(folder: Path, nodes: int, cpus: int) -> None:
    """Start a cluster and wait until its nodes can take jobs.

    Args:
        folder: created if needed.
        nodes: number of nodes, all on this machine.
        cpus: of each node; may be more than this machine has.

    Raises:
        RefusedError: something is missing, or a daemon did not start.
    """
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        raise RefusedError(f"{', '.join(missing)}: not installed. On Debian: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        raise RefusedError("The daemons of SLURM need root: call this as root.")
    if len(str(folder)) > MAX_FOLDER:
        raise RefusedError(f"{folder}: longer than {MAX_FOLDER} characters. Choose a shorter FOLDER, as in /tmp.")
    if any(_daemons(folder)):
        raise RefusedError(f"{folder}: a cluster runs there already. End it with stop, or choose another FOLDER.")
    if folder.exists() and any(folder.iterdir()) and not (folder / "slurm.conf").exists():
        raise RefusedError(f"{folder}: holds other files. Choose an empty FOLDER, or a new one.")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "state").mkdir(parents=True)
    # Addresses, because a job looks up its first node by this name, and other names cannot be resolved.
    names = [f"127.0.0.{number}" for number in range(1, nodes + 1)]
    _write_configuration(folder, names, cpus)
    try:
        _call("munged", "--force", *(f"--{what}={folder}/{file}" for what, file in _munge_files(folder).items()))
        _call("slurmctld", "-f", f"{folder}/slurm.conf")
        for name in names:
            _call("slurmd", "-N", name, "-f", f"{folder}/slurm.conf")
        _wait_until_idle(folder, nodes)
    except BaseException:
        stop(folder)
        raise


def _write_configuration(folder: Path, names: list[str], cpus: int) -> None:
    ports = _free_ports(len(names) + 1)
    host = socket.gethostname().split(".")[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 // len(names)  # MiB
    lines = [
        NODE.format(name=name, host=host, port=port, cpus=cpus, memory=memory)
        for name, port in zip(names, ports[1:], strict=True)
    ]
    text = CONFIGURATION.format(folder=folder, host=host, port=ports[0], nodes="\n".join(lines))
    (folder / "slurm.conf").write_text(text)


def _munge_files(folder: Path) -> dict[str, str]:
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    return {
        "key-file": "munge.key",
        "socket": "munge.socket",
        "pid-file": "munged.pid",
        "log-file": "munged.log",
        "seed-file": "munged.seed",
    }


def _free_ports(count: int) -> list[int]:
    """Return ports that no program listens on, below the range that the system assigns by itself."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, 30_000)  # noqa: S311
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


def _call(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RefusedError(f"{command[0]} does not start: {said[-1]}")


def _wait_until_idle(folder: Path, nodes: int) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    command = ["sinfo", "--noheader", "--partition=main", "--states=idle", "--format=%D"]
    while time.monotonic() < deadline:
        done = subprocess.run(command, env={**os.environ, **environment(folder)}, capture_output=True, text=True)
        if done.stdout.strip() == str(nodes):
            return
        time.sleep(0.1)
    raise RefusedError(f"The nodes are not idle after {SECONDS_TO_START} s: see {folder}/slurmctld.log.")


def environment(folder: Path) -> dict[str, str]:
    """Return the environment variables by which SLURM's commands find the cluster."""
    return {"SLURM_CONF": f"{folder}/slurm.conf"}


def stop(folder: Path) -> None:
    """End the cluster in `folder`, its jobs too; its logs stay."""
    while _halt(folder):
        pass


def _halt(folder: Path) -> bool:
    """Kill all processes of the cluster; return whether there were any.

    All are stopped (SIGSTOP) first: a running one could start another, which cannot be found once its parent is dead.
    """
    held: set[int] = set()
    while new := {each for daemon in _daemons(folder) for each in (daemon, *_below(daemon))} - held:
        _send(signal.SIGSTOP, new)
        held |= new
        time.sleep(0.05)  # one may have been about to start another
    _send(signal.SIGKILL, held)
    return bool(held)


def _send(number: signal.Signals, processes: set[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _daemons(folder: Path) -> Iterator[int]:
    """Yield the daemons that have a file in `folder` open, or work in it."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() not in DAEMONS:
                continue
            opened = (each.readlink() for each in (process / "cwd", *(process / "fd").iterdir()))
            if any(each.is_relative_to(folder) for each in opened):
                yield int(process.name)
        except OSError:  # the process has just ended
            continue


def _below(process: int) -> Iterator[int]:
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from _below(child)


def main() -> int:
    """Run the action of the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in {"start": "start a cluster", "run": "run a command in one", "stop": "end a cluster"}.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("folder", type=Path, help="where its files are")
        if name != "stop":
            action.add_argument(
                "--nodes", type=int, default=1, help="number of nodes, all on this machine (default: 1)"
            )
            action.add_argument("--cpus", type=int, default=2, help="of each node (default: 2)")
        if name == "run":
            action.add_argument("command", nargs=argparse.REMAINDER, help="with its arguments")
    given = parser.parse_args()
    folder = given.folder.absolute()
    try:
        if given.action == "stop":
            stop(folder)
            return 0
        start(folder, given.nodes, given.cpus)
    except RefusedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.action == "start":
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment(folder).items()))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return subprocess.run(given.command, env={**os.environ, **environment(folder)}).returncode
    except OSError as error:
        print(f"error: {given.command[0]}: {error.strerror}", file=sys.stderr)
        return 2
    finally:
        stop(folder)


if __name__ == "__main__":
    sys.exit(main())
