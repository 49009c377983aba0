"""`python scripts/new_project.py`: a project of the user's own, or a line or two that say why not.

Each test runs the program as a user does, in a copy of this checkout whose every file is committed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab_engine.cli.json_schema import files

ROOT = Path(__file__).parents[2]
OLD_NAME = re.compile(rb"lenet[-_ ]?lab", re.IGNORECASE)
LONG_NAME = "a_name_as_long_as_it_may_be_30"

NOT_OURS = ("GIT_", "PYTEST", "LENET_LAB", "HYDRA", "EMAIL", "PYTHONPATH")
IDENTITY = {f"GIT_{who}_{what}": "me@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
NOBODY = {key: value for key, value in os.environ.items() if not key.startswith(NOT_OURS)}
NOBODY |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
ENVIRONMENT = NOBODY | IDENTITY

Done = subprocess.CompletedProcess[str]


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_of(folder: Path) -> list[str]:
    return git(folder, "ls-files", "-z").split("\0")[:-1]


def commit_all(folder: Path) -> None:
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "-m", "All")


def new_project(
    template: Path, where: Path, *words: str | Path, python: tuple[str, ...] = (), **variables: str
) -> Done:
    return subprocess.run(
        [sys.executable, *python, template / "scripts" / "new_project.py", *words],
        cwd=where,
        env=ENVIRONMENT | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def made(template: Path, where: Path, *words: str | Path, **rest: str) -> Path:
    done = new_project(template, where, *words, **rest)
    assert (done.returncode, done.stderr) == (0, "")
    return where / words[0]


def everything(*folders: Path) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as it would be if all in it were committed."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git, and a checkout made by git clone")
    folder = tmp_path_factory.mktemp("template") / "checkout"
    for name in git(ROOT, "ls-files", "-co", "--exclude-standard", "-z").split("\0")[:-1]:
        if os.path.lexists(ROOT / name):  # else it is removed but still in the index
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    git(folder, "init", "--quiet", "-b", "main")
    commit_all(folder)
    return folder


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Path:
    """A template that a test may change."""
    git(tmp_path, "clone", "--quiet", str(template), "clone")
    return tmp_path / "clone"


@pytest.fixture(scope="module")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds `my_lab`, `bare_lab` (it has no notes) and one with a long name."""
    place = tmp_path_factory.mktemp("projects")
    made(template, place, "my_lab")
    made(template, place, "bare_lab", "--without-notes")
    made(template, place, "long", "--name", LONG_NAME)
    return place


@pytest.fixture(params=["my_lab", "bare_lab", "long"])
def project(projects: Path, request: pytest.FixtureRequest) -> Path:
    return projects / request.param


# --- what it makes ---


def test_it_says_what_it_did_and_what_comes_next(template: Path, tmp_path: Path) -> None:
    (tmp_path / "a place").mkdir()
    done = new_project(template, tmp_path, "a place/my_lab")
    first, *_, committed, following, enter, quickstart, test = done.stdout.splitlines()
    count = len(files_of(tmp_path / "a place" / "my_lab"))
    assert first == f"my_lab: {count} files in {tmp_path / 'a place' / 'my_lab'}"
    assert re.search(r"renamed: lenet_lab to my_lab in \d+ files and in the paths of \d+\n", done.stdout)
    assert (committed, following) == ("committed: Start my_lab", "next:")
    assert [enter, quickstart, test] == ["  cd 'a place/my_lab'", "  make quickstart", "  make test"]


def test_no_trace_of_the_old_name_is_left(project: Path) -> None:
    for name in files_of(project):
        assert not OLD_NAME.search(name.encode()), name
        assert not OLD_NAME.search((project / name).read_bytes()), name
    assert not OLD_NAME.search(git(project, "log", "--format=fuller").encode())


def test_all_else_is_as_it_was(template: Path, projects: Path) -> None:
    project = projects / "my_lab"
    renamed = {name.replace("lenet_lab", "my_lab") for name in files_of(template)}
    kept = set(files_of(project))
    assert kept <= renamed
    assert {name for name in renamed - kept if not name.startswith(("scripts/", "tests/", "docs/"))} == set()
    for page in ("tasks.md", "architecture.md", "notes/research.md"):
        assert f"docs/{page}" in kept
    assert "tests/test_smoke.py" in kept
    assert not {name for name in kept if name.startswith(("scripts/", "tests/lab_engine/", "tests/faults/"))}
    digits = "src/{}/data/digits.npz"
    assert (project / digits.format("my_lab")).read_bytes() == (template / digits.format("lenet_lab")).read_bytes()
    assert os.access(project / ".ci" / "run", os.X_OK)
    modes = {line.split("\t")[1]: line.split()[0] for line in git(template, "ls-files", "-s").splitlines()}
    for line in git(project, "ls-files", "-s").splitlines():
        assert line.split()[0] == modes[line.split("\t")[1].replace("my_lab", "lenet_lab")]


def test_the_engine_is_the_same_byte_for_byte(template: Path, projects: Path) -> None:
    names = [name for name in files_of(template) if name.startswith(("src/lab_engine/", "src/hydra_plugins/"))]
    assert len(names) > 100
    for name in names:
        assert (projects / "my_lab" / name).read_bytes() == (template / name).read_bytes(), name


def test_it_is_small(projects: Path) -> None:
    own = [
        projects / "my_lab" / name
        for name in files_of(projects / "my_lab")
        if name.endswith(".py") and not name.startswith(("src/lab_engine/", "src/hydra_plugins/"))
    ]
    assert sum(len(path.read_text().splitlines()) for path in own) <= 5000


def test_its_editors_have_the_schemas_of_its_own_files(projects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # another test looks for files that do not belong there
    monkeypatch.syspath_prepend(projects / "my_lab" / "src")
    for name, text in files("my_lab", projects / "my_lab").items():
        assert (projects / "my_lab" / name).read_text() == text, name


def test_its_readme_is_a_page_about_it(project: Path) -> None:
    name = LONG_NAME if project.name == "long" else project.name
    text = (project / "README.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert len(text.splitlines()) <= 70
    assert f"{name.replace('_', '-')} train resume=RUN_FOLDER" in text


def test_the_folder_is_as_open_as_any_other(projects: Path) -> None:
    (projects / "any").mkdir()
    assert (projects / "my_lab").stat().st_mode == (projects / "any").stat().st_mode


def test_it_has_one_commit_and_nothing_else(project: Path) -> None:
    name = LONG_NAME if project.name == "long" else project.name
    assert git(project, "log", "--format=%s").splitlines() == [f"Start {name}"]
    assert git(project, "branch", "--show-current") == "main\n"
    assert git(project, "status", "--porcelain", "--ignored") == ""


def test_nothing_of_the_template_alone_is_left(project: Path) -> None:
    marker = re.compile(rb"^\s*(#|<!--) (begin|end): (template|notes)\b", re.MULTILINE)
    for name in files_of(project):
        content = (project / name).read_bytes()
        assert not marker.search(content), name
        assert not re.search(rb"new[-_]project", content), name
        assert not (b"\0" not in content and content.endswith(b"\n\n")), name


def test_the_notes_are_left_out_on_demand_with_all_that_points_to_them(projects: Path) -> None:
    assert not (projects / "bare_lab" / "docs" / "notes").exists()
    for name in files_of(projects / "bare_lab"):
        if not name.startswith(("docs/conftest.py", "tests/docs/")):  # they serve any notes, of the user's own, too
            assert not re.search(rb"\bnotes/", (projects / "bare_lab" / name).read_bytes()), name
    notes = [name for name in files_of(projects / "my_lab") if name.startswith("docs/notes/")]
    assert notes


def test_links_in_the_readme_lead_somewhere(project: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", (project / "README.md").read_text())
    assert links
    for link in links:
        assert (project / link).exists(), link


def test_it_passes_the_style_check(project: Path) -> None:
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", "--output-format=concise", "."]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_texts_in_the_picture_keep_their_width(template: Path, projects: Path) -> None:
    def widths(folder: Path) -> list[float]:
        svg = (folder / "docs" / "images" / "quickstart.svg").read_text()
        texts = re.findall(r'textLength="([0-9.]+)"[^>]*>([^<]+)</text>', svg)
        return [float(width) / len(text.replace("&#160;", " ")) for width, text in texts if "_lab" in text]

    assert widths(projects / "my_lab") == pytest.approx(widths(template), rel=1e-3)


def test_odd_files(clone: Path, tmp_path: Path) -> None:
    binary = b"\x89PNG\r\n\0" + bytes(range(256))
    files = {
        "odd/names.txt": b"lenet_lab lenet-lab LENET_LAB LENET-LAB LeNet Lab LenetLab lenetlab lenet_lab2 LeNet\n",
        "odd/latin.txt": "naïve lenet_lab\r\n".encode("latin-1"),
        "odd/lenet-lab.bin": binary,
        "odd/ünï \tlenet_lab.txt": b"",
        "odd/no_newline.md": b"a\n\n<!-- begin: template -->\nb\n<!-- end: template -->",
        "odd/sections.md": (
            b"a\n\n<!-- begin: template -->\n\nb\n\n<!-- begin: notes -->\nc\n<!-- end: notes -->\n"
            b"<!-- end: template -->\n\nd\n  # begin: notes\n  e\n  # end: notes\n\n\nf `# begin: notes`\n"
        ),
        "odd/gone.py": b"# begin: template\nprint()\n# end: template\n",
        "odd/gone_notes.py": b"# begin: notes\nX = 1\n# end: notes\n",
    }
    for name, content in files.items():
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_bytes(content)
    (clone / "odd" / "link").symlink_to("../src/lenet_lab/train.py")
    (clone / "odd" / "tool").write_text("#!/bin/sh\n")
    (clone / "odd" / "tool").chmod(0o755)
    commit_all(clone)

    odd = made(clone, tmp_path, "my_lab") / "odd"
    text = b"my_lab my-lab MY_LAB MY-LAB My Lab MyLab mylab my_lab2 LeNet\n"
    assert (odd / "names.txt").read_bytes() == text
    assert (odd / "latin.txt").read_bytes() == "naïve my_lab\r\n".encode("latin-1")
    assert (odd / "my-lab.bin").read_bytes() == binary
    assert (odd / "ünï \tmy_lab.txt").read_bytes() == b""
    assert (odd / "no_newline.md").read_bytes() == b"a\n"
    assert (odd / "sections.md").read_bytes() == b"a\n\nd\n  e\n\n\nf `# begin: notes`\n"
    assert not (odd / "gone.py").exists()
    assert (odd / "gone_notes.py").exists()
    assert (odd / "link").readlink() == Path("../src/my_lab/train.py")
    assert (odd / "link").is_file()
    assert os.access(odd / "tool", os.X_OK)
    bare = made(clone, tmp_path, "bare_lab", "--without-notes") / "odd"
    assert (bare / "sections.md").read_bytes() == b"a\n\nd\n\n\nf `# begin: notes`\n"
    assert not (bare / "gone_notes.py").exists()


def test_it_can_be_made_anywhere_under_any_name(template: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")  # another project around it
    (tmp_path / "it's é").mkdir()
    project = made(template, tmp_path, "it's é/My-Lab 2", "--name", "lab2")
    assert (project / "src" / "lab2" / "train.py").is_file()
    assert 'name = "lab2"' in (project / "pyproject.toml").read_text()


# --- git and ruff of the user's own ---


def test_without_an_identity_all_is_staged(template: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, template / "scripts" / "new_project.py", "my_lab"],
        cwd=tmp_path,
        env=NOBODY,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    project = tmp_path / "my_lab"
    assert set(git(project, "status", "--porcelain").splitlines()) == {f"A  {name}" for name in files_of(project)}
    (command,) = (line for line in done.stdout.splitlines() if "git -C" in line)
    assert git(tmp_path, *shlex.split(command)[1:])
    assert git(project, "log", "--format=%s") == "Start my_lab\n"


def test_hooks_signing_and_ignored_files_of_the_user_do_not_matter(template: Path, tmp_path: Path) -> None:
    hook = tmp_path / "hooks" / "pre-commit"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    (tmp_path / "ignore").write_text("*.npz\n")
    settings = {
        "core.hooksPath": hook.parent,
        "core.excludesFile": tmp_path / "ignore",
        "commit.gpgSign": "true",
        "gpg.program": "false",
    }
    config = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        config |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": str(value)}
    inside_a_hook = {"GIT_DIR": str(tmp_path / "other"), "GIT_INDEX_FILE": str(tmp_path / "index")}
    project = made(template, tmp_path, "my_lab", **config, **inside_a_hook)
    assert git(project, "status", "--porcelain") == ""
    assert "src/my_lab/data/digits.npz" in files_of(project)


def test_without_ruff_it_says_so(template: Path, tmp_path: Path) -> None:
    done = new_project(template, tmp_path, "my_lab", python=("-S",))  # -S hides all that is installed
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "  make format"
    assert git(tmp_path / "my_lab", "status", "--porcelain", "--ignored") == ""


def test_the_ruff_of_the_template_will_do(clone: Path, tmp_path: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "ruff").symlink_to(Path(sys.executable).with_name("ruff"))
    done = new_project(clone, tmp_path, "zoo_lab", python=("-S",))
    assert done.returncode == 0, done.stderr
    assert "make format" not in done.stdout
    test_it_passes_the_style_check(tmp_path / "zoo_lab")


# --- what it refuses ---


def assert_refused(done: Done, *said: str) -> None:
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 2
    for words in said:
        assert words in done.stderr


SPELLING = "a package is a-z, 0-9 and _ only"
USED = "a package that the project uses has it"
TAKEN = "a folder or file of the project has it"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my-lab", (SPELLING, "try --name my_lab")),
        ("1lab", (SPELLING, "try --name lab")),
        ("my lab", (SPELLING, "try --name my_lab")),
        ("My.Lab", (SPELLING, "try --name my_lab")),
        ("ünïcode", (SPELLING, "try --name unicode")),
        ("my\nlab", (r"'my\nlab'", SPELLING)),
        ("my_lab\n", (SPELLING, "try --name my_lab")),
        ("", (SPELLING, "give another with --name")),
        ("x", (SPELLING, "give another with --name")),
        ("PIL", (SPELLING,)),
        ("_lab", (SPELLING,)),
        ("lab_", (SPELLING,)),
        ("../lab", (SPELLING,)),
        ("CLASS", (SPELLING, "give another with --name")),
        ("class", ("it is a keyword of Python",)),
        ("json", ("a module of Python's own has it",)),
        ("test", ("a module of Python's own has it",)),
        ("a" * 31, ("it has 31 characters, and at most 30 are allowed",)),
        ("lenet_lab", ("the template itself has it",)),
        *((name, (USED,)) for name in ("torch", "hydra", "hydra_core", "lightning", "torchvision", "pydantic")),
        *((name, (USED,)) for name in ("numpy", "pil", "omegaconf", "yaml", "ruff", "conftest")),
        *((name, (TAKEN,)) for name in ("tests", "scripts", "conf", "docs", "src", "data", "runs", "makefile")),
        ("state_dict", ("Lightning uses it as a key in every checkpoint",)),
    ],
)
def test_names_it_refuses(template: Path, tmp_path: Path, name: str, said: tuple[str, ...]) -> None:
    done = new_project(template, tmp_path, "folder", "--name", name)
    assert_refused(done, f"the name {name!r} is refused: ", *said)
    assert everything(tmp_path) == set()


def test_the_name_of_the_folder_is_refused_like_any_other(template: Path, tmp_path: Path) -> None:
    assert_refused(new_project(template, tmp_path, "my-lab"), "'my-lab'", "try --name my_lab")
    assert everything(tmp_path) == set()


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("full", ("'full' is a folder already", "give a path that is free")),
        ("full/file", ("'full/file' is a file already",)),
        ("empty", ("'empty' is an empty folder already", "remove it (rmdir empty)")),
        ("dangling", ("'dangling' is a file already",)),
        (".", ("'.' is a folder already",)),
        ("", ("'.' is a folder already",)),
        ("full/..", ("'full/..' is a folder already",)),
        ("no/such/place", ("there is no folder", "make it first: mkdir -p ")),
        ("full/file/place", ("there is no folder",)),
        ("TEMPLATE/my_lab", ("lies inside the template's own checkout", "my_lab")),
        ("TEMPLATE/src/my_lab", ("lies inside the template's own checkout",)),
        ("TEMPLATE/.git/my_lab", ("lies inside the template's own checkout",)),
        ("link_to_template/my_lab", ("lies inside the template's own checkout",)),
        ("TEMPLATE", ("is a folder already",)),
    ],
)
def test_folders_it_refuses(template: Path, tmp_path: Path, folder: str, said: tuple[str, ...]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "link_to_template").symlink_to(template)
    before = everything(tmp_path, template)
    done = new_project(template, tmp_path, folder.replace("TEMPLATE", str(template)), "--name", "my_lab")
    assert_refused(done, *said)
    assert everything(tmp_path, template) == before


def test_a_folder_inside_is_refused_with_the_one_beside(clone: Path, tmp_path: Path) -> None:
    assert_refused(new_project(clone, clone, "my_lab"), "'my_lab' lies inside", "such as ../my_lab\n")


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder that nothing can be written to, not even by root."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    if not os.access(folder, os.W_OK):
        yield folder
    elif Path("/proc/self").exists():
        yield Path("/proc")
    else:
        pytest.skip("root can write anywhere")
    folder.chmod(0o700)


def test_a_closed_parent_folder_is_refused(template: Path, tmp_path: Path, closed: Path) -> None:
    done = new_project(template, tmp_path, closed / "my_lab")
    assert_refused(done, f"{str(closed)!r} cannot be written to: ", "give a folder where you may write")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["README.md"], "'README.md'\n"),
        (["conf/new file é"], "'conf/new file é'\n"),
        (["Makefile", "README.md", "conf/b"], "'Makefile' and 2 more\n"),
    ],
    ids=["changed", "new", "several"],
)
def test_a_dirty_checkout_is_refused(clone: Path, tmp_path: Path, changed: list[str], said: str) -> None:
    for name in changed:
        (clone / name).write_text("changed")
    done = new_project(clone, tmp_path, "my_lab")
    assert_refused(done, f"{clone} has changes that are not committed: {said}", "git stash -u")
    assert not (tmp_path / "my_lab").exists()


def test_images_in_the_checkout_are_left_where_they_are(clone: Path, tmp_path: Path) -> None:
    for name in ("photos", "new photos"):
        (clone / name / "cat").mkdir(parents=True)
        (clone / name / "cat" / "1.jpg").write_text("an image")
    done = new_project(clone, tmp_path, "my_lab")
    assert done.returncode == 0, done.stderr
    assert "not copied, because git does not know it: 'new photos/' and 1 more\n" in done.stdout
    assert (clone / "photos" / "cat" / "1.jpg").exists()
    assert not (tmp_path / "my_lab" / "photos").exists()


@pytest.mark.parametrize("inside_another", [False, True])
def test_an_archive_is_refused(template: Path, tmp_path: Path, inside_another: bool) -> None:
    folder = tmp_path / "other" / "downloaded"
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns(".git"))
    if inside_another:
        git(folder.parent, "init", "--quiet")
        commit_all(folder.parent)
    done = new_project(folder, tmp_path, "my_lab", GIT_CEILING_DIRECTORIES="" if inside_another else str(tmp_path))
    assert_refused(done, f"{folder} is not a git checkout", "get the template with git clone")
    assert not (tmp_path / "my_lab").exists()


def test_a_missing_git_is_refused(template: Path, tmp_path: Path) -> None:
    assert_refused(new_project(template, tmp_path, "my_lab", PATH=str(tmp_path)), "git is not installed")
    assert everything(tmp_path) == set()


def test_an_older_python_is_refused(template: Path, tmp_path: Path) -> None:
    pretend = "import runpy, sys; sys.version_info = (3, 9, 2, 'final', 0); del sys.argv[0]; "
    pretend += "runpy.run_path(sys.argv[0], run_name='__main__')"
    done = new_project(template, tmp_path, "my_lab", python=("-c", pretend))
    assert_refused(done, "this Python is older than 3.11")


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- begin: notes -->\n", "'begin: notes' has no 'end: notes'"),
        ("a\n<!-- end: template -->\n", "odd.md:2: 'end: template' has no 'begin: template'"),
        ("# begin: notes\n# begin: template\n# end: notes\n# end: template\n", "odd.md:3: 'end: notes' has no"),
    ],
    ids=["begin", "end", "crossed"],
)
def test_a_marker_without_partner_is_a_fault_of_ours(clone: Path, tmp_path: Path, text: str, said: str) -> None:
    (clone / "odd.md").write_text(text)
    commit_all(clone)
    done = new_project(clone, tmp_path, "my_lab")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: odd.md")
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clone"]


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("kill -TERM $PPID; sleep 3", 143, ""),
        ("kill -HUP $PPID; sleep 3", 129, ""),
        ("kill -INT $PPID; sleep 3", 130, "error: interrupted; nothing was left behind\n"),
        ("echo no space left >&2; exit 128", 1, "error: git add failed: no space left\n"),
    ],
    ids=["terminated", "hung up", "interrupted", "failed"],
)
def test_nothing_half_made_is_left(template: Path, tmp_path: Path, fault: str, status: int, said: str) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\n[ "$1" = add ] && {{ {fault}; }}\nexec {shlex.quote(str(shutil.which("git")))} "$@"\n')
    fake.chmod(0o755)
    (tmp_path / "place").mkdir()
    done = new_project(template, tmp_path / "place", "my_lab", PATH=f"{fake.parent}:{os.environ['PATH']}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)
    assert everything(tmp_path / "place") == set()
