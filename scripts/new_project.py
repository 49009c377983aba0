"""Make a new project from this one, under a name of your own, with a new git history.

    python scripts/new_project.py ../my_lab
    python scripts/new_project.py ../somewhere/else --name my_lab --without-notes

The committed files are copied, and lenet_lab, lenet-lab and LENET_LAB become my_lab, my-lab and MY_LAB in contents and
paths. The engine, src/lab_engine, is not changed. Its tests, the benchmarks and this program are not copied: they serve
the development of the template.
Nothing is installed or downloaded, and nothing is left when it fails. Exit status: 2 for an error that the user can
fix, 1 for a fault of the template.
"""

from __future__ import annotations  # so that an older Python gets as far as the message about its age

import argparse
import html
import importlib.util
import io
import keyword
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = (  # patterns of paths; files for the development of the template and its engine
    *("README.md", "scripts/*", "tests/*"),
    *(f"docs/{page}.md" for page in ("contributing", "dependencies", "mutants", "reliability", "scaling", "speed")),
    "docs/user_guide/new_project.md",
    "docs/images/scaling_*.svg",
)
COPIED = (  # exceptions: tests of the code that a researcher changes, and one of every command
    *(f"tests/{name}.py" for name in ("__init__", "conftest", "real_images", "shapes", "test_smoke")),
    *(f"tests/lenet_lab/{name}.py" for name in ("__init__", "test_metrics")),
    *("tests/lenet_lab/models/*", "tests/lenet_lab/tasks/__init__.py"),
    *(f"tests/lenet_lab/data/{name}.py" for name in ("__init__", "test_normalize")),
)
MOVED = {"scripts/project_readme.md": "README.md"}
ENGINE = "lab_engine"
"""The package that keeps its name and all of its bytes, so that a newer one can replace it."""
NOTES = "docs/notes/"
LOCK = "requirements-dev.lock"  # of all packages
MARKER = re.compile(r"\s*(?:#|<!--) (begin|end): (template|notes)(?: -->)?\s*")  # a whole line
MAX_NAME = 30  # characters; it must fit into lines of 120 characters and tables in a terminal

# Names that the template's files do not contain.
IMPORTED = {  # packages that are imported under another name than on PyPI, or that are not from PyPI
    *("antlr4", "attr", "conftest", "dateutil", "functorch", "git", "google", "hydra", "pil", "pip"),
    *("pkg_resources", "setuptools", "sklearn", "torchgen", "xdist", "yaml"),
}
FOLDERS = {"build", "data", "dist", "runs", "mine"}  # created by a run, a build or the notes, and not in git
CHECKPOINT_KEYS = {  # Lightning's own; the package adds a key with its own name
    *("callbacks", "epoch", "global_step", "hparams_name", "hyper_parameters", "loops", "lr_schedulers"),
    *("optimizer_states", "should_stop", "state_dict"),
}


class RefusedError(Exception):
    """An error that the user can fix; the text names the value, the cause and the cure in one or two lines."""


class TemplateError(Exception):
    """A fault of the template or of a tool, not of what the user asked for."""


@dataclass(frozen=True)
class File:
    """A file of the template, or of the project that it becomes."""

    path: str  # from the root, with slashes
    content: bytes  # of a symbolic link: its target
    executable: bool = False
    link: bool = False


# --- the command line ---


def check_spelling(name: str) -> None:
    """Refuse a name that cannot be that of a package, for any template.

    Raises:
        RefusedError: it must be a Python identifier, and with dashes a name on PyPI, on every file system.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name):
        plain = (
            unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        )  # splits ü into u and a combining mark
        near = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_").lstrip("0123456789_")
        cure = f"try --name {near}" if len(near) > 1 and not keyword.iskeyword(near) else "give another with --name"
        raise RefusedError(
            f"the name {name!r} is refused: a package is a-z, 0-9 and _ only, two or more of them, "
            f"from a letter to a letter or digit\n{cure}"
        )
    if len(name) > MAX_NAME:
        raise RefusedError(
            f"the name {name!r} is refused: it has {len(name)} characters, and at most {MAX_NAME} are allowed\n"
            "give a shorter one with --name"
        )
    if keyword.iskeyword(name):
        raise RefusedError(f"the name {name!r} is refused: it is a keyword of Python\ngive another with --name")
    if name in {*sys.stdlib_module_names, "test"}:  # `test` is missing in stdlib_module_names
        raise RefusedError(
            f"the name {name!r} is refused: a module of Python's own has it, and one would hide the other\n"
            "give another with --name"
        )


def check_clashes(name: str, package: str, files: list[File]) -> None:
    """Refuse a name that is taken.

    Raises:
        RefusedError: it is the name of the template, of a package it depends on, of a folder or of a checkpoint key.
    """
    if name == package:
        cause = "the template itself has it"
    elif name == ENGINE:
        cause = "the engine below your package has it"
    elif name in dependencies(files) | IMPORTED:
        cause = "a package that the project uses has it, and one would hide the other"
    elif importlib.util.find_spec(name):
        cause = "a package that is installed here has it, and one would hide the other"
    elif name in {file.path.split("/")[0].lower() for file in files} | FOLDERS:
        cause = "a folder or file of the project has it"
    elif name in CHECKPOINT_KEYS:
        cause = "Lightning uses it as a key in every checkpoint"
    else:
        return
    raise RefusedError(f"the name {name!r} is refused: {cause}\ngive another with --name")


def dependencies(files: list[File]) -> set[str]:
    """Return the names of all packages in pyproject.toml and requirements-dev.lock, as Python would spell them."""
    import tomllib  # new in Python 3.11

    texts = {file.path: file.content.decode() for file in files if file.path in ("pyproject.toml", LOCK)}
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    wanted = list(project["dependencies"])
    for extra in project.get("optional-dependencies", {}).values():
        wanted += extra
    wanted += texts.get(LOCK, "").splitlines()
    found = (re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line) for line in wanted)
    return {re.sub(r"[-.]", "_", name[0].lower()) for name in found if name}


def check_target(folder: Path) -> Path:
    """Return the absolute path of the folder to create.

    Raises:
        RefusedError: the path exists, lies inside the template, or has no parent folder.
    """
    # The last part is not resolved, so that a broken link counts as existing.
    target = folder.resolve() if folder.name in ("", "..") else folder.parent.resolve() / folder.name
    if os.path.lexists(target):
        empty = target.is_dir() and not target.is_symlink() and os.access(target, os.R_OK) and not any(target.iterdir())
        what = "an empty folder" if empty else "a folder" if target.is_dir() else "a file"
        cure = f"remove it (rmdir {shlex.quote(str(folder))}) or give" if empty else "give"
        raise RefusedError(f"{str(folder)!r} is {what} already, and stays as it is\n{cure} a path that is free")
    if not target.parent.is_dir():
        raise RefusedError(
            f"{str(folder)!r} cannot be made: there is no folder {str(target.parent)!r}\n"
            f"make it first: mkdir -p {shlex.quote(str(target.parent))}"
        )
    if target.is_relative_to(ROOT):
        raise RefusedError(
            f"{str(folder)!r} lies inside the template's own checkout, {ROOT}\n"
            f"give a folder outside, such as {shlex.quote(os.path.relpath(ROOT.parent / target.name))}"
        )
    return target


# --- the template ---


def git(folder: Path, *words: str) -> bytes:
    """Run git in `folder` and return its stdout.

    Raises:
        TemplateError: git ended with another status than 0.
    """
    # Inside a hook, git sets variables such as GIT_DIR, which would override the folder.
    ours = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    done = subprocess.run(["git", *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        raise TemplateError(f"git {words[0]} failed: {said[0]}")
    return done.stdout


def check_checkout() -> list[str]:
    """Refuse if HEAD cannot be read, or differs from the files of the template.

    Returns:
        What else lies in the folder, such as images to train on.

    Raises:
        RefusedError: there is no git, no checkout, or a change that is not committed.
    """
    if shutil.which("git") is None:
        raise RefusedError("git is not installed, and the files are copied with it\ninstall git, then try again")
    try:
        top = Path(os.fsdecode(git(ROOT, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
        git(ROOT, "rev-parse", "--verify", "HEAD")
        cause = "" if top.resolve() == ROOT else f"it lies in another checkout, {top}"
    except TemplateError as error:
        cause = str(error)
    if cause:
        raise RefusedError(f"{ROOT} is not a git checkout: {cause}\nget the template with git clone, not as an archive")
    tracked = os.fsdecode(git(ROOT, "ls-tree", "--name-only", "-z", "HEAD")).split("\0")
    changes, others = [], []
    for line in os.fsdecode(git(ROOT, "status", "--porcelain", "-z", "--no-renames")).split("\0")[:-1]:
        kind, name = line[:2], line[3:]
        (others if kind == "??" and name.partition("/")[0] not in tracked else changes).append(name)
    if changes:
        raise RefusedError(
            f"{ROOT} has changes that are not committed: {first_of(changes)}\n"
            "commit them, or put them aside with git stash -u"
        )
    return others


def first_of(names: list[str]) -> str:
    """Return the first name, and how many more there are."""
    return repr(names[0]) + (f" and {len(names) - 1} more" if names[1:] else "")


def read_template() -> list[File]:
    """Return all files of HEAD, not of the work tree."""
    files = []
    with tarfile.open(fileobj=io.BytesIO(git(ROOT, "archive", "--format=tar", "HEAD"))) as archive:
        for member in archive:
            if member.issym():
                files.append(File(member.name, os.fsencode(member.linkname), link=True))
            elif (stream := archive.extractfile(member)) is not None:  # a folder has none
                files.append(File(member.name, stream.read(), executable=bool(member.mode & 0o100)))
    return files


def package_of(files: list[File]) -> str:
    """Return the name of the package in `src` beside the engine.

    Raises:
        TemplateError: there is none, or more than one.
    """
    found = [file.path.split("/")[1] for file in files if re.fullmatch(r"src/\w+/__init__\.py", file.path)]
    found = [name for name in found if name != ENGINE]
    if len(found) != 1:
        names = ", ".join(found) or "none"
        raise TemplateError(f"src/ should hold one package beside {ENGINE}, not {len(found)}: {names}")
    return found[0]


# --- the conversion of a file ---


def renamer(old: str, new: str) -> Callable[[str], str]:
    """Return a function that replaces the old name with the new one, spelled the same way.

    Separator and case are kept, so that lenet_lab, lenet-lab, LENET_LAB, LenetLab and "Lenet Lab" become my_lab,
    my-lab, MY_LAB, MyLab and "My Lab".
    """
    pattern = re.compile("[-_ ]?".join(map(re.escape, old.split("_"))), re.IGNORECASE)

    def spelled(match: re.Match[str]) -> str:
        found = match[0]
        separator = next((sign for sign in "-_ " if sign in found), "" if "_" in old else "_")
        words = new.split("_")
        if found.isupper():
            words = [word.upper() for word in words]
        elif not found.islower():
            words = [word.capitalize() for word in words]
        return separator.join(words)

    return lambda text: pattern.sub(spelled, text)


def rename_picture(svg: str, rename: Callable[[str], str]) -> str:
    """Rename in a picture of a terminal, and adjust the width of each text, which would else be squeezed or spread."""

    def fit(match: re.Match[str]) -> str:
        width, rest, text = match.groups()
        renamed = rename(text)
        if renamed == text:
            return match[0]
        width = float(width) * len(html.unescape(renamed)) / len(html.unescape(text))
        return f'textLength="{width:g}"{rest}>{renamed}<'

    return re.sub(r'textLength="([0-9.]+)"([^>]*)>([^<]+)<', fit, svg)


def cut(text: str, sections: set[str], path: str) -> str:
    """Remove all marker lines, and the text between the markers of the named sections.

    Args:
        text: may have nested sections.
        sections: those to remove: "template", "notes".
        path: of the file, for the error message.

    Raises:
        TemplateError: a marker has no counterpart.
    """
    kept: list[str] = []
    opened: list[str] = []
    gap = False
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if marker := MARKER.fullmatch(line):
            edge, section = marker.groups()
            if edge == "begin":
                opened.append(section)
            elif not opened or opened.pop() != section:
                raise TemplateError(f"{path}:{number}: 'end: {section}' has no 'begin: {section}' before it")
            gap = True
        elif sections.isdisjoint(opened):
            if gap and not line.strip() and not (kept and kept[-1].strip()):
                continue  # blank lines before and after a removed section become one
            kept.append(line)
            gap = False
    if opened:
        raise TemplateError(f"{path}: 'begin: {opened[-1]}' has no 'end: {opened[-1]}' after it")
    while gap and kept and not kept[-1].strip():
        kept.pop()
    return "".join(kept)


def is_copied(path: str) -> bool:
    """Return whether a new project gets this file of the template."""
    if path in MOVED or any(fnmatchcase(path, pattern) for pattern in COPIED):
        return True
    return not any(fnmatchcase(path, pattern) for pattern in NOT_COPIED)


def convert(files: list[File], rename: Callable[[str], str], sections: set[str]) -> list[tuple[File, bool]]:
    """Return the files of the new project, each with whether its content was renamed."""
    left = [replace(file, path=MOVED.get(file.path, file.path)) for file in files if is_copied(file.path)]
    if "notes" in sections:
        left = [file for file in left if not file.path.startswith(NOTES)]
    converted = []
    for file in left:
        path = PurePosixPath(file.path)
        if file.path.startswith(f"src/{ENGINE}/"):
            converted.append((file, False))
            continue
        content, changed = file.content, False
        if b"\0" not in content:  # else the file is binary; git uses the same test
            text = content.decode(errors="surrogateescape")
            trimmed = text if file.link else cut(text, sections, file.path)
            if text and not trimmed:
                continue  # the whole file belongs to removed sections
            fitted = rename_picture(trimmed, rename) if path.suffix == ".svg" else trimmed
            renamed = rename(fitted)
            content, changed = renamed.encode(errors="surrogateescape"), renamed != trimmed
        converted.append((File(rename(file.path), content, file.executable, file.link), changed))
    return converted


# --- the new project ---


def write(file: File, folder: Path) -> None:
    """Write a file, with the permissions that the user's umask allows."""
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.link:
        path.symlink_to(os.fsdecode(file.content))
    else:
        permissions = 0o777 if file.executable else 0o666
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, permissions)) as stream:
            stream.write(file.content)


def tidy(project: Path) -> bool:
    """Sort imports and format code again, because the new name has another length and place in the alphabet.

    Returns:
        Whether it was done: it needs ruff, in this Python or in the template's own environment.
    """
    own = ROOT / ".venv" / "bin" / "ruff"
    if importlib.util.find_spec("ruff"):
        ruff = [sys.executable, "-m", "ruff"]
    elif os.access(own, os.X_OK):
        ruff = [str(own)]
    else:
        return False
    steps = (
        ["check", "--fix", "--exit-zero"],
        ["format"],
        ["check", "--select", "E501", "--add-noqa"],  # ruff cannot wrap text that the new name made too long
    )
    for command, *options in steps:
        words = [*ruff, command, "--no-cache", "--quiet", *options, "."]
        if subprocess.run(words, cwd=project, stdin=subprocess.DEVNULL, capture_output=True).returncode:
            return False
    return True


def commit(project: Path, name: str) -> bool:
    """Start a git history with all files.

    Returns:
        Whether there is a commit: if git does not know a name and address, the files are only staged.
    """
    git(project, "init", "--quiet", "-b", "main")
    git(project, "add", "--all", "--force")  # --force, because a user's global ignore file may match some files
    known = ("-c", "user.useConfigOnly=true")  # no address made up from the machine's name
    try:
        for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            git(project, *known, "var", who)
    except TemplateError:
        return False
    # No signature, which could ask for a passphrase, and no hooks, whose tools may not be installed
    # (.pre-commit-config.yaml names tools in .venv).
    unattended = ("-c", "commit.gpgsign=false", "-c", f"core.hooksPath={os.devnull}")
    git(project, *known, *unattended, "commit", "--quiet", "-m", f"Start {name}")
    return True


def make(target: Path, name: str, files: list[File]) -> tuple[bool, bool]:
    """Make the project in a temporary folder beside `target`, and rename it when it is complete.

    Returns:
        Whether it is formatted, and whether it is committed.

    Raises:
        RefusedError: the parent folder cannot be written to.
    """
    try:
        beside = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        raise RefusedError(
            f"{str(target.parent)!r} cannot be written to: {error.strerror}\ngive a folder where you may write"
        ) from error
    with beside as place:
        project = Path(place) / "project"  # not the temporary folder itself, which other users cannot read
        for file in files:
            write(file, project)
        done = tidy(project), commit(project, name)
        project.rename(target)
    return done


def main() -> None:
    """Read the command line, make the project, print the next steps."""
    if sys.version_info < (3, 11):  # noqa: UP036 - nothing has checked the version before
        raise RefusedError("this Python is older than 3.11\ncall a newer one: python3.12 scripts/new_project.py ...")
    description, _, details = (__doc__ or "").partition("\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=details, formatter_class=layout)
    parser.add_argument("folder", type=Path, help="the folder to make; it must not exist")
    parser.add_argument("--name", help="of the Python package (default: the folder's name)")
    parser.add_argument("--without-notes", action="store_true", help=f"leave out {NOTES} and what belongs to it")
    arguments = parser.parse_args()

    target = check_target(arguments.folder)
    name = target.name if arguments.name is None else arguments.name
    check_spelling(name)
    others = check_checkout()
    files = read_template()
    package = package_of(files)
    check_clashes(name, package, files)
    sections = {"template", "notes"} if arguments.without_notes else {"template"}
    converted = convert(files, renamer(package, name), sections)
    formatted, committed = make(target, name, [file for file, _ in converted])

    there = shlex.quote(str(arguments.folder))
    texts = sum(changed for _, changed in converted)
    paths = sum(f"/{name}/" in f"/{file.path}/" for file, _ in converted)
    print(f"{name}: {len(converted)} files in {target}")
    print(f"renamed: {package} to {name} in {texts} files and in the paths of {paths}")
    if others:
        print(f"not copied, because git does not know it: {first_of(others)}")
    if committed:
        print(f"committed: Start {name}")
    else:
        print("staged, but not committed: git does not know your name and address. Configure them, then run")
        print(f"  git -C {there} commit -m 'Start {name}'")
    print("next:", f"  cd {there}", "  make quickstart", "  make test", sep="\n")
    if not formatted:
        print("and once, to format the code for the new name, because ruff is not installed here:")
        print("  make format")


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that it cleans up after itself
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    try:
        main()
    except RefusedError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (TemplateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("error: interrupted; nothing was left behind", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
