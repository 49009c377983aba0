"""Python programs that are forked from a process which has imported PyTorch and the like: seconds of each test.

`Popen` and `run` do what those of `subprocess` do with `python -m MODULE WORDS` or `python -c CODE WORDS`. One process
for each process of pytest forks them on request. What a command starts itself, the processes of its devices and the one
that a sweep forks its jobs from, is forked as well, from the command.

A program does what Python does: it goes to the folder, takes the variables, and runs the module as `__main__`. It ends
without destroying its objects, which would take longer than a refused command runs: memory that it shares with the
others would be copied first.
"""

import atexit
import gc
import json
import logging
import multiprocessing.util
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Never

IMPORTED = (
    *("torch", "torch.utils.tensorboard.summary", "torchvision", "torchmetrics.classification", "lightning.pytorch"),
    *("torch.distributed.launcher.api", "lightning.pytorch.callbacks", "hydra", "hydra.utils", "pydantic", "psutil"),
    *("jinja2", "rich.progress", "matplotlib.backends.backend_agg", "matplotlib.figure", "mlflow.tracking", "wandb"),
    *("lenet_lab.sweeps.warm", "lenet_lab.explain", "lenet_lab.processes", "lenet_lab.loggers.tensorboard"),
)
"""Most of what a run imports, but no command; none reads variables that the tests set, or starts a thread."""

WAYS = ("-m", "-c")
"""To name the program; any other option comes before it."""

READ_AT_START = {"HYDRA_FULL_ERROR", "LD_PRELOAD"}
"""Variables that are read as a process starts, or by what it imports."""


class _Forked(subprocess.Popen[Any]):
    """What is common to both ways to fork: everything but `_fork`."""

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:  # subprocess asks this for the process
        _, _, _, pass_fds, cwd, env, _, _, _, *pipes = rest
        files = [given if given >= 0 else number for number, given in enumerate((pipes[0], pipes[3], pipes[5]))]
        variables = {str(name): str(value) for name, value in (os.environ if env is None else env).items()}
        request = {"words": [str(word) for word in args[1:]], "cwd": str(cwd or Path.cwd()), "env": variables}
        self.pid = self._fork({**request, "session": bool(pipes[-2])}, files, pass_fds)
        self._child_created = True
        self._close_pipe_fds(*pipes[:6])

    def _fork(self, request: dict[str, Any], files: list[int], kept: Iterable[int]) -> int:
        raise NotImplementedError


class Popen(_Forked):
    """A process forked from the one that has imported everything, which is started where there is none."""

    def _fork(self, request: dict[str, Any], files: list[int], kept: Iterable[int]) -> int:
        self._ended, ended = os.pipe()  # tells how it has ended
        try:
            return _server.fork(request, [*files, ended])
        finally:
            os.close(ended)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags & os.WNOHANG and not select.select([self._ended], [], [], 0)[0]:
            return 0, 0
        status = os.read(self._ended, 4)
        os.close(self._ended)
        return self.pid, int.from_bytes(status) if status else signal.SIGKILL

    def _internal_poll(self, *_: object, **__: object) -> int | None:
        if self.returncode is None and self._child_created:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)
        return self.returncode


class _ForkedHere(_Forked):
    """A process forked from this one, for what a command starts itself: its parent is the command, as it expects."""

    def _fork(self, request: dict[str, Any], files: list[int], kept: Iterable[int]) -> int:
        return _fork_here(request, files, kept)


def run(
    command: Sequence[object], timeout: float = 100, content: Any = None, **settings: Any
) -> "subprocess.CompletedProcess[Any]":
    """Do what `subprocess.run` does, with output captured.

    A program with options for Python itself, or with one of `READ_AT_START`, is not forked.

    Args:
        command: the first word is Python's.
        timeout: seconds.
        content: its standard input; none is empty.
        settings: of `subprocess.Popen`; text=True is added.
    """
    stdin = subprocess.DEVNULL if content is None else subprocess.PIPE
    pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    start = subprocess.Popen if command[1] not in WAYS or READ_AT_START & settings["env"].keys() else Popen
    with start(command, start_new_session=True, **{"text": True, **pipes, **settings}) as process:
        try:
            out, err = process.communicate(content, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class _Server:
    """The process that forks the others; made at the first request, ends with this one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()

    def fork(self, request: dict[str, Any], files: list[int]) -> int:
        with self._one_at_a_time:
            if self._process is None or self._process.poll() is not None:
                self._start()
            content = json.dumps(request).encode()
            socket.send_fds(self._ours, [len(content).to_bytes(8)], files)
            self._ours.sendall(content)
            return int.from_bytes(_read(self._ours, 4))

    def _start(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            cwd=Path(__file__).parents[1],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        atexit.register(self._end, self._process, self._ours)

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]", ours: socket.socket) -> None:
        ours.close()  # which it takes as the end
        process.wait()


_server = _Server()


def _read(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where there are no more."""
    found = b""
    while len(found) < size and (more := connection.recv(size - len(found))):
        found += more
    return found


def main() -> None:
    """Be that process, until the other side has gone."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # to start CUDA here would keep it from the children
    os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["MLFLOW_CONFIGURE_LOGGING"] = "true", "false"  # as a run does
    for name in IMPORTED:
        import_module(name)
    handler = "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler"
    import_module(handler).Popen = _ForkedHere  # type: ignore[attr-defined]
    multiprocessing.util.spawnv_passfds = lambda _, words, kept: _fork_here(_here(words), [0, 1, 2], kept)
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, what it shares
    connection = socket.socket(fileno=int(sys.argv[1]))
    alive: dict[int, int] = {}  # where to tell how each has ended
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            while alive and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                where = alive.pop(ended[0])
                os.write(where, ended[1].to_bytes(4))
                os.close(where)
        if connection in ready:
            size, files, *_ = socket.recv_fds(connection, 8, 4)
            if not size:
                return
            request = json.loads(_read(connection, int.from_bytes(size)))
            *files, ended_at = files
            child = _fork_here(request, files, ())
            for file in files:
                os.close(file)
            alive[child] = ended_at
            connection.sendall(child.to_bytes(4))


def _here(words: Sequence[str | bytes]) -> dict[str, Any]:
    """The request for a program like this one, with other words."""
    texts = [os.fsdecode(word) for word in words[1:]]
    return {"words": texts, "cwd": str(Path.cwd()), "env": dict(os.environ), "session": False}


def _fork_here(request: dict[str, Any], files: Sequence[int], kept: Iterable[int]) -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else both would write it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: threads of libraries, which sleep
        child = os.fork()
    if child == 0:
        try:
            _become(request, files, {int(file) for file in kept})
        finally:
            os._exit(70)  # it could not
    return child


def _become(request: dict[str, Any], files: Sequence[int], kept: set[int]) -> Never:
    """Run `python WORDS` as this program, which then ends as that does."""
    if request["session"]:
        os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files):
        os.dup2(file, number)
    nothing = os.open(os.devnull, os.O_RDWR)
    # Not closed: an object of the other program's may still close its file, which must then be no file of this one's.
    for number in [int(file.name) for file in Path("/dev/fd").iterdir()]:
        if number > 2 and number not in kept and number != nothing and _is_open(number):
            os.dup2(nothing, number, inheritable=False)
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    logging.root.handlers.clear()
    atexit._clear()
    atexit.register(multiprocessing.util._exit_function)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    words = request["words"]
    place = next(number for number, word in enumerate(words) if word in WAYS)
    kind, what, *rest = words[place:]
    sys.orig_argv = [sys.executable, *words]
    sys.path[:1] = [request["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if "PYTHONPATH" in os.environ and find_spec("sitecustomize"):
        import_module("sitecustomize")  # as Python does at its start
    status = 0
    try:
        if kind == "-m":
            sys.argv = [what, *rest]
            sys.modules.pop(what, None)  # else runpy warns that it is run a second time
            runpy._run_module_as_main(what)  # as `python -m` does
        else:
            sys.argv = ["-c", *rest]
            sys.modules.pop("lenet_lab.sweeps.warm", None)  # its import has an effect
            sys.modules["__main__"] = program = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), program.__dict__)  # noqa: S102 - as `python -c` does
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        status = -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # as Python does before it destroys objects
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if status < 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
