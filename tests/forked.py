"""Run Python programs in processes forked from one that has imported PyTorch, which saves seconds in each test.

`Popen` and `run` do what those of `subprocess` do with `python -m MODULE WORDS` or `python -c CODE WORDS`. One process
forks them on request, for all processes of pytest. What a command starts itself, the processes of its devices and the
one that a sweep forks its jobs from, is forked as well, from the command.

A program does what Python does: it goes to the folder, takes the variables, and runs the module as `__main__`. It ends
by `os._exit`: destroying objects would first copy the memory that it shares, which takes longer than a refused command.
All programs share Python's seed of hashes, which decides the order of a set.
"""

import atexit
import gc
import json
import logging
import multiprocessing.forkserver
import multiprocessing.util
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Never

IMPORTED = (
    *("torch", "torch.utils.tensorboard.summary", "torchvision", "torchmetrics.classification", "lightning.pytorch"),
    *("torch.distributed.launcher.api", "lightning.pytorch.callbacks", "hydra", "hydra.utils", "pydantic", "psutil"),
    *("jinja2", "rich.progress", "matplotlib.backends.backend_agg", "matplotlib.figure", "mlflow.tracking", "wandb"),
    *("omegaconf._impl", "rich._emoji_codes", "tensorboard.plugins.hparams.metadata", "PIL.JpegImagePlugin"),
    *("lab_engine.cli.once", "lab_engine.config.check", "lab_engine.config.explain", "lab_engine.runs.processes"),
    *("lab_engine.sweeps.schema", "lab_engine.sweeps.warm", "lenet_lab.checks"),
    *("lab_engine.training.callbacks.best_checkpoint", "lab_engine.training.callbacks.dashboard"),
    *("lab_engine.training.callbacks.non_finite_guard", "lab_engine.training.loggers.tensorboard"),
    *("lenet_lab.data.digits", "lenet_lab.data.image_folder", "lenet_lab.losses", "lenet_lab.models.lenet"),
    *("lenet_lab.schema", "lenet_lab.tasks.classification", "lenet_lab.training"),
)
"""Most of what a run imports, but no command; none reads variables that the tests set, or starts a thread."""

ROOT = Path(__file__).parents[1]

SHARED = "TESTS_FORKED_BY"
"""Variable with the folder of this project and the address of the process that forks, where one has been started."""

WAYS = ("-m", "-c")
"""Options of Python that name the program; all others stand before them."""

READ_AT_START = {"LD_PRELOAD"}
"""Variables that the system's loader reads only when a program starts."""

NO_BYTECODE = "-B"
"""Option that Python passes on to the processes of `multiprocessing` where PYTHONDONTWRITEBYTECODE is set."""


def _can_be_forked(words: Sequence[Any], env: Mapping[str, str]) -> bool:
    """Tell whether a fork does what a new process would; libraries of other systems than Linux forbid to fork."""
    at_start = env.get("HYDRA_FULL_ERROR") == "1" or READ_AT_START & env.keys()
    is_python = words[0] in ("python", sys.executable, os.fsencode(sys.executable))
    program = next((word for word in map(os.fsdecode, words[1:]) if word != NO_BYTECODE), "")
    return sys.platform == "linux" and is_python and program in WAYS and not at_start


def _request(words: Sequence[Any], env: dict[str, str], cwd: Any = ".", session: bool = False) -> dict[str, Any]:
    """What `_become` needs to know, as JSON can say it."""
    texts = [os.fsdecode(word) for word in words[1:]]
    return {"words": texts, "cwd": str(Path(cwd).absolute()), "env": env, "session": session}


class _Forked(subprocess.Popen[Any]):
    """What is common to both ways to fork: everything but `_fork`."""

    def _execute_child(self, args: Sequence[Any], *rest: Any) -> None:  # subprocess asks this for the process
        executable, preexec_fn, _, pass_fds, cwd, env, _, _, shell, *pipes = rest
        variables = {str(name): str(value) for name, value in (os.environ if env is None else env).items()}
        self.forked = _can_be_forked(args, variables)
        if not self.forked:
            super()._execute_child(args, *rest)
            return
        if preexec_fn or pass_fds or shell or executable:
            raise NotImplementedError("a fork knows none of these settings")
        files = [given if given >= 0 else number for number, given in enumerate((pipes[0], pipes[3], pipes[5]))]
        self.pid = self._fork(_request(args, variables, cwd or ".", session=bool(pipes[-2])), files)
        self._child_created = True
        self._close_pipe_fds(*pipes[:6])

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:  # else it would be waited for
            self.kill()
        super().__exit__(kind, *rest)

    def _fork(self, request: dict[str, Any], files: list[int]) -> int:
        raise NotImplementedError


class Popen(_Forked):
    """A process forked from the one that has imported everything, which is started where there is none."""

    def _fork(self, request: dict[str, Any], files: list[int]) -> int:
        self._ended, ended = os.pipe()  # tells how it has ended
        try:
            return _server.fork(request, [*files, ended])
        except BaseException:
            os.close(self._ended)
            raise
        finally:
            os.close(ended)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if not self.forked:
            return super()._try_wait(wait_flags)
        if wait_flags & os.WNOHANG and not select.select([self._ended], [], [], 0)[0]:
            return 0, 0
        status = os.read(self._ended, 4)
        os.close(self._ended)
        return self.pid, int.from_bytes(status) if status else signal.SIGKILL

    def _internal_poll(self, *words: Any, **more: Any) -> int | None:
        if self._child_created and not self.forked:
            return super()._internal_poll(*words, **more)
        if self.returncode is None and self._child_created:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)
        return self.returncode


class _ForkedHere(_Forked):
    """A process forked from this one, for what a command starts itself: its parent is the command, as it expects."""

    def _fork(self, request: dict[str, Any], files: list[int]) -> int:
        return _fork_here(request, files, ())


def run(
    command: Sequence[object],
    timeout: float = 100,
    content: Any = None,
    capture_output: bool = True,
    **settings: Any,
) -> "subprocess.CompletedProcess[Any]":
    """Do what `subprocess.run` does, with output captured and no input.

    Args:
        command: the first word is Python's.
        timeout: seconds.
        content: its standard input; none is empty.
        capture_output: as `subprocess.run` has it; output is captured in any case.
        settings: of `subprocess.Popen`; text=True is added.
    """
    stdin = subprocess.DEVNULL if content is None else subprocess.PIPE
    pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(command, start_new_session=True, **{"text": True, **pipes, **settings}) as process:
        try:
            out, err = process.communicate(content, timeout)
        except BaseException:  # that of pytest-timeout, too
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class _Server:
    """The process that forks the others. It ends with the process that has started it."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None
        self._one_at_a_time = threading.Lock()

    def fork(self, request: dict[str, Any], files: list[int]) -> int:
        with self._one_at_a_time:
            if self._connection is None:
                self._connection = self._connect()
                atexit.register(self._connection.close)
            content = json.dumps(request).encode()
            try:
                socket.send_fds(self._connection, [len(content).to_bytes(8)], files)
                self._connection.sendall(content)
                answer = _read(self._connection, 4)
                assert len(answer) == 4, "the process that forks has ended"
            except BaseException:  # else the next request would get this answer
                self._connection.close()
                self._connection = None
                raise
            return int.from_bytes(answer)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        root, _, address = os.environ.get(SHARED, "").partition("=")
        if root == str(ROOT):
            with suppress(OSError):  # the process that has started it may have ended
                connection.connect(address)
                return connection
        connection.connect(self.start())
        return connection

    def start(self) -> str:
        """Start it, for this process and all that this one starts, and return its address."""
        folder = Path(tempfile.mkdtemp(prefix="forked-"))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "socket"))
        listener.listen()
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(listener.fileno()), str(theirs.fileno())],
            cwd=ROOT,
            env={
                **os.environ,
                "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
            },  # with larger pages a fork takes half the time
            pass_fds=[listener.fileno(), theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        listener.close()
        atexit.register(self._end, process, ours, folder)
        os.environ[SHARED] = f"{ROOT}={folder / 'socket'}"
        return str(folder / "socket")

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]", ours: socket.socket, folder: Path) -> None:
        ours.close()  # which it takes as the end
        process.wait()
        shutil.rmtree(folder)


_server = _Server()
start = _server.start


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
    spawn = multiprocessing.util.spawnv_passfds
    multiprocessing.util.spawnv_passfds = lambda path, words, kept: (
        _fork_here(_request(words, dict(os.environ)), [0, 1, 2], kept)
        if _can_be_forked(words, os.environ)
        else spawn(path, words, kept)
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which one of these imports ignores
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, what it shares
    listener, owner = (socket.socket(fileno=int(word)) for word in sys.argv[1:])
    connections: list[socket.socket] = []
    alive: dict[int, int] = {}  # where to tell how each has ended
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([listener, owner, woken, *connections], [], [])
        if owner in ready:
            return
        if listener in ready:
            connections.append(listener.accept()[0])
        if woken in ready:
            os.read(woken, 4096)
            while alive and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                where = alive.pop(ended[0])
                with suppress(BrokenPipeError):  # who asked for it has ended, too
                    os.write(where, ended[1].to_bytes(4))
                os.close(where)
        for connection in [each for each in connections if each in ready]:
            with suppress(ConnectionError):
                if (child := _answer(connection)) is not None:
                    alive.update([child])
                    continue
            connection.close()
            connections.remove(connection)


def _answer(connection: socket.socket) -> tuple[int, int] | None:
    """Fork what is asked for; return the process and where to tell how it has ended, or None if nobody asks."""
    size, files, *_ = socket.recv_fds(connection, 8, 4)
    if not size:
        return None
    request = json.loads(_read(connection, int.from_bytes(size)))
    *files, ended_at = files
    child = _fork_here(request, files, ())
    for file in files:
        os.close(file)
    with suppress(ConnectionError):
        connection.sendall(child.to_bytes(4))
    return child, ended_at


def _fork_here(request: dict[str, Any], files: Sequence[int], kept: Iterable[int]) -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else both would write it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: threads of libraries, which sleep
        child = os.fork()
    if child == 0:
        try:
            _become(request, files, {int(file) for file in kept})
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)
    return child


def _become(request: dict[str, Any], files: Sequence[int], kept: set[int]) -> Never:
    """Run `python WORDS` as this program, which then ends as that does."""
    if request["session"]:
        os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # else it is ignored, and stays so
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files):
        os.dup2(file, number)
    nothing = os.open(os.devnull, os.O_RDWR)
    # Pointed to /dev/null, not closed: an object of the other program's may close its file later.
    for number in [int(file.name) for file in Path("/dev/fd").iterdir()]:
        if number > 2 and number not in kept and number != nothing and _is_open(number):
            os.dup2(nothing, number, inheritable=False)
    sys.stdin = sys.__stdin__
    # New ones: those of the other program know whether its files could seek.
    encoding = request["env"].get("PYTHONIOENCODING", "utf-8")
    sys.stdout = sys.__stdout__ = open(1, "w", -1, encoding, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", -1, encoding, "backslashreplace", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    sys.stderr.reconfigure(line_buffering=True)
    sys.modules["numpy"].random.seed()
    multiprocessing.forkserver._forkserver.__init__()  # else it is locked where this was forked to be such a server
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
    sys.modules.pop("sitecustomize", None)
    sys.modules["__main__"] = program = types.ModuleType("__main__")
    status, interrupted = 0, False
    try:
        if "PYTHONPATH" in os.environ and find_spec("sitecustomize"):
            import_module("sitecustomize")  # as Python does at its start
        if kind == "-m":
            sys.argv = [what, *rest]
            sys.modules.pop(what, None)  # else runpy warns that it is run a second time
            runpy._run_module_as_main(what)  # as `python -m` does
        else:
            sys.argv = ["-c", *rest]
            sys.modules.pop("lab_engine.sweeps.warm", None)  # its import has an effect
            exec(compile(what, "<string>", "exec"), program.__dict__)  # noqa: S102 - as `python -c` does
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        interrupted = True
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # as Python does before it destroys objects
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:  # what was run may have done so
            stream.flush()
    if interrupted:
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
