"""Runs every block of every page: a page whose code fails, or prints anything else than it says, fails the tests.

| fence | what happens |
| --- | --- |
| python with `>>>` | a doctest: what is printed must be what the page says; `...` stands for anything |
| python | runs; it must print nothing, or the page would hide it |
| console | each line after `$ ` is run, in a shell unless it is a plain `lenet-lab …`, and prints what follows it |
| any that begins `# some/path.ext` | written to that file |

Where a figure depends on the processor, `# doctest: +NUMBER` allows it to be off by one in the last digit given.
All blocks of a page share their names and a folder of their own. Any other fence is an error: nothing on a page goes
unchecked.
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, run
from typing import Any

import pytest
import torch
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.doctest import OutputChecker
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

# begin: template
from tests.docs.commands import check_commands
from tests.forked import run  # noqa: F811 - the same in less time

# end: template
# begin: notes
from tests.real_images import DECODED, find_cifar10, find_real_images, keep_as_cifar10, session_folder, unpack

# end: notes

# Hydra wants its own line to be the first.
FILE = re.compile(r"(?:# @package .*\n)?# ([\w./-]+\.(?:py|yaml|json|txt))\n")
PLAIN = re.compile(r"(?:python -m|lenet-lab) [^;&|<>$`*?#]+")  # a command in which the shell has nothing to do
LENET_LAB = "import sys; sys.argv[0] = 'lenet-lab'; from lenet_lab.__main__ import main; main()"  # does as the script
ENDS = re.compile(r"^(error:|interrupted,)", re.MULTILINE)  # what a page shows of a run that is not finished
COLUMNS = "80"  # of the terminal that the pages show
PICTURES = "LENET_LAB_PICTURES"  # a folder that gets the pictures which the pages draw

run_doctests = PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS)
run_python = PythonEvaluator()


def parse(document: Document) -> Iterable[Region]:
    """Find what is to be done for each fence of a page."""
    doctests = [region for region in run_doctests(document) if isinstance(region.parsed, doctest.Example)]
    for region in FencedCodeBlockLexer(language=r".*", mapping={"language": "language", "source": "source"})(document):
        source = region.lexemes["source"]
        region.parsed = source
        if source.startswith(">>>"):
            said = [part for part in doctest.DocTestParser().parse(source) if isinstance(part, str) and part.strip()]
            if not said and "+SKIP" not in source:
                yield from (found for found in doctests if region.start <= found.start < region.end)
                continue
            region.evaluator = refuse
        elif FILE.match(source):
            region.evaluator = write_file
        elif region.lexemes["language"] == "python":
            region.evaluator = run_silently
        elif region.lexemes["language"] == "console":
            region.evaluator = run_commands
        # begin: template
        elif region.lexemes["language"] == "sh":
            region.evaluator = check_commands
        # end: template
        else:
            region.evaluator = refuse
        yield region


def write_file(example: Example) -> str | None:
    """Write the file that the first line names."""
    path = Path(FILE.match(example.parsed)[1])
    if ".." in path.parts or path.is_absolute():
        return f"{path} lies outside the folder of the page"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(example.parsed)
    return None


def refuse(example: Example) -> str:
    """Fail: what no one checks would rot."""
    return f"nothing checks this fence, or a part of it:\n{example.parsed}"


def run_silently(example: Example) -> str | None:
    """Run Python that must print nothing."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run_python(example)
    return f"the page does not show what this prints:\n{printed.getvalue()}" if printed.getvalue() else None


def run_commands(example: Example) -> str | None:
    """Run each command and compare what it prints with what the page says."""
    blocks = re.split(r"^\$ ", example.parsed.replace("\\\n", ""), flags=re.MULTILINE)
    if blocks[0].strip():
        return f"a console block begins with a command, `$ …`, not with {blocks[0]}"
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for block in blocks[1:]:
        command, _, expected = block.partition("\n")
        words = shlex.split(command) if PLAIN.fullmatch(command) else ["/bin/sh", "-c", command]
        if words[0] == "lenet-lab":
            words = [sys.executable, "-c", LENET_LAB, *words[1:]]
        environment = {**os.environ, "PATH": scripts, "COLUMNS": COLUMNS}
        done = run(words, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, text=True, timeout=280)
        lines = (line.rstrip() for line in done.stdout.splitlines())
        printed = "\n".join(line for line in lines if line) + "\n"
        wanted = "\n".join(line for line in expected.splitlines() if line) + "\n"
        if not OutputChecker().check_output(wanted, printed, doctest.ELLIPSIS):
            return f"$ {command}\nshould print\n{wanted}\nbut it ended with {done.returncode} and printed\n{printed}"
        if done.returncode and not ENDS.search(expected):
            return f"$ {command}\nended with {done.returncode}"
    return None


def enter_folder(namespace: dict[str, Any]) -> None:
    """Go to a new folder, which the blocks of the page have to themselves, away from settings of the user's own."""
    namespace["_back"] = Path.cwd()
    namespace["_environment"] = dict(os.environ)
    namespace["_threads"] = torch.get_num_threads()
    namespace["_folder"] = tempfile.mkdtemp(prefix="page-")
    namespace["_cache"] = tempfile.mkdtemp(prefix="cache-")
    os.chdir(namespace["_folder"])
    sys.path.insert(0, namespace["_folder"])  # as in a notebook: what lies here can be imported
    os.environ.update(MPLBACKEND="agg", LENET_LAB_CACHE=namespace["_cache"])
    for name in ("LENET_LAB_DATA", "HYDRA_FULL_ERROR"):
        os.environ.pop(name, None)


def leave_folder(namespace: dict[str, Any]) -> None:
    """Keep the pictures, where that is asked for, and undo all else that a page may have done."""
    os.chdir(namespace["_back"])
    os.environ.clear()
    os.environ.update(namespace["_environment"])
    torch.set_num_threads(namespace["_threads"])
    torch.set_default_dtype(torch.float32)
    sys.path.remove(namespace["_folder"])
    for name, module in list(sys.modules.items()):  # another page may have a module of the same name
        if (getattr(module, "__file__", None) or "").startswith(namespace["_folder"]):
            del sys.modules[name]
    if PICTURES in os.environ:
        for picture in Path(namespace["_folder"]).glob("*.png"):
            shutil.copy(picture, os.environ[PICTURES])
    shutil.rmtree(namespace["_folder"])
    shutil.rmtree(namespace["_cache"])


def pages(*patterns: str, **rest: Any) -> Sybil:
    """Make what collects the pages of these patterns."""
    return Sybil(**{"parsers": [parse], "patterns": patterns, "setup": enter_folder, "teardown": leave_folder, **rest})


collected = pages("scaling.md", "tasks.md", "guides/*.md", "notes/*.md", "user_guide/*.md", exclude="notes/cifar10.md")

SLOW = {
    "cifar10.md",
    "research.md",
    "tasks.md",
    *(page.name for folder in ("guides", "user_guide") for page in Path(__file__).parent.glob(f"{folder}/*.md")),
}  # all blocks or none: they build on each other


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the blocks of pages that take long."""
    if item.path.name in SLOW:
        item.add_marker("slow")
        item.add_marker(pytest.mark.timeout(300))


# begin: notes
SHARED = list[Path]()  # one folder for all processes of this pytest session, set at collection


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip a page that cannot run once, not once for each of its blocks."""
    SHARED.append(session_folder(config._tmp_path_factory))
    if find_cifar10() is None and find_real_images() is None:
        blocks = [item for item in items if item.path.name == "cifar10.md"][1:]
        items[:] = [item for item in items if item not in blocks]
        config.hook.pytest_deselected(items=blocks)


def enter_folder_with_cifar10(namespace: dict[str, Any]) -> None:
    """See to it that `data=cifar10` finds its images decoded: those that a run here has downloaded, or a stand-in."""
    downloaded, images = find_cifar10(), find_real_images()
    enter_folder(namespace)  # it is left in any case
    if downloaded is None and images is None:
        pytest.skip(
            "the page needs CIFAR-10: run `python -m lenet_lab.train` once, which downloads it, or set "
            "LENET_LAB_CIFAR10_IMAGES to a folder with train/<class>/* and test/<class>/*"
        )
    if downloaded:
        os.environ["LENET_LAB_CACHE"] = str(downloaded)
    else:
        shared = SHARED[0]
        keep_as_cifar10(unpack(images, shared), shared / DECODED, Path(namespace["_cache"]))


collected += pages("notes/cifar10.md", setup=enter_folder_with_cifar10)
# end: notes

pytest_collect_file = collected.pytest()
