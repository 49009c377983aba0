"""Commands in a process that has imported PyTorch and the like before, instead of doing so for seconds in every test.

One process a test session is forked for each command. The child does what `python -m` does: it goes to the folder,
takes the variables, and runs the module as `__main__`. It ends without destroying its objects, which would take longer
than a refused command runs: memory that it shares with the parent would be copied first.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path

IMPORTED = (
    *("torch", "torch.utils.tensorboard.summary", "torchvision", "torchmetrics.classification", "lightning.pytorch"),
    *("lightning.pytorch.callbacks", "hydra", "hydra.utils", "pydantic", "psutil", "jinja2", "rich.progress"),
    *("lenet_lab.sweeps.warm", "lenet_lab.explain", "lenet_lab.processes", "lenet_lab.loggers.tensorboard"),
)
"""Most of what a run imports, but no command; none reads variables that the tests set, or starts a thread."""


class Forks:
    """Starts commands; the process behind it is made at the first one, and ends with this one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def _end(self) -> None:
        self._ours.close()  # which it takes as the end
        if self._process:
            self._process.wait()

    def run(
        self, module: str, words: list[str], cwd: Path, env: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Do what `subprocess.run` does with `python -m MODULE WORDS`; stdin is empty, output is captured as text."""
        if self._process is None:
            self._ours, theirs = socket.socketpair()
            command = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                cwd=Path(__file__).parents[1],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            theirs.close()
            atexit.register(self._end)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = json.dumps({"module": module, "words": words, "cwd": str(cwd), "env": env}).encode()
            socket.send_fds(self._ours, [len(request).to_bytes(8)], [out.fileno(), err.fileno()])
            self._ours.sendall(request)
            self._ours.settimeout(timeout)
            try:
                answer = self._ours.recv(4)
            except TimeoutError:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._process = None
                raise subprocess.TimeoutExpired(["python", "-m", module, *words], timeout) from None
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(words, int.from_bytes(answer, signed=True), *texts)


def read(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where there are no more."""
    found = b""
    while len(found) < size and (more := connection.recv(size - len(found))):
        found += more
    return found


def main() -> None:
    """Be that process, until the other side has gone."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # to start CUDA here would keep it from the children
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, what it shares
    connection = socket.socket(fileno=int(sys.argv[1]))
    while True:
        size, files, *_ = socket.recv_fds(connection, 8, 2)
        if not size:
            return None
        request = json.loads(read(connection, int.from_bytes(size)))
        child = os.fork()
        if child == 0:
            connection.close()
            return become(request, files)
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        with suppress(BrokenPipeError):
            connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))


def become(request: dict[str, object], files: list[int]) -> None:
    """Run the module as this program, which then ends as it does."""
    for number, file in zip((1, 2), files, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = request["cwd"]
    sys.argv = [request["module"], *request["words"]]
    sys.orig_argv = [sys.executable, "-m", *sys.argv]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 0
    try:
        runpy._run_module_as_main(request["module"])  # as `python -m` does
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # as Python does before it destroys objects
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
