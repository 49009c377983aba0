"""The pages can be trusted: whatever is changed in one, the tests see it."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests import forked

pytestmark = pytest.mark.slow  # each starts pytest, which starts a process that imports all libraries

ROOT = Path(__file__).parents[2]
IMPORTED = "ignore:Module already imported"  # a plugin of pytest, by the process that this one is forked from
PAGE = """\
# A page

```python
>>> half = 0.5
>>> half / 4
0.125
>>> 0.123  # doctest: +NUMBER
0.12
```

```python
total = 0
for number in range(4):
    total += number
```

```yaml
# conf/model/small.yaml
_target_: my.small
```

1. An exercise.

   <details><summary>Solution</summary>

   ```python
   # my.py
   small = 7
   ```

   ```python
   >>> import my
   >>> my.small + total
   13
   ```

   </details>

```console
$ cat conf/model/small.yaml \\
    | tail -1
_target_: my.small
$ printf 'one\\n\\ntwo three\\n' && echo picture > drawn.png
one
two ...
```

```sh
make test     # a target of this project
lenet-lab train optimizer.lr=0.1
```
"""


CHANGES = {
    "printed": ("0.125", "0.126"),
    "rounded": ("0.12\n", "0.14\n"),
    "code": ("range(4)", "range(5)"),
    "prints": ("total += number", "print(number)"),
    "solution": ("\n   13", "\n   14"),
    "file": ("small = 7", "small = 8"),
    "output": ("_target_: my.small\n$", "_target_: my.other\n$"),
    "elided": ("two ...", "three ..."),
    "status": ("$ cat", "$ false &&"),
    "unnamed": ("```yaml\n#", "```yaml\n"),
    "unknown": ("```yaml\n# conf", "```json\n"),
    "target": ("make test", "make tests"),
    "composed": ("optimizer.lr", "optimizer.lrr"),
    "raises": ("half / 4", "half / 0"),
    "command": ("$ printf", "printf"),
    "text": ("0.125\n", "0.125\n\nassert False\n"),
    "skipped": ("+NUMBER", "+SKIP"),
    "outside": ("# conf/model", "# ../conf/model"),
    "comment": ("total = 0\n", "# 3.14\nassert False\n"),
}


def run_pages(folder: Path, pages: dict[str, str], **environment: str) -> tuple[int, str]:
    """Make these the notes of an otherwise empty project and run them; give pytest's status and output."""
    (folder / "docs" / "notes").mkdir(parents=True)
    (folder / "docs" / "conftest.py").symlink_to(ROOT / "docs" / "conftest.py")
    for name, page in pages.items():
        (folder / "docs" / "notes" / f"{name}.md").write_text(page)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # of `tests`, which the copy imports
    done = forked.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-W", IMPORTED, "docs"],
        cwd=folder,
        env={**inherited, "PYTHONPATH": path, **environment},
        timeout=280,
    )
    return done.returncode, done.stdout + done.stderr


def test_every_block_is_run_and_pictures_are_kept_on_request(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    status, out = run_pages(tmp_path, {"page": PAGE}, LENET_LAB_PICTURES=str(tmp_path / "kept"))
    assert status == 0, out
    assert re.search(r"\b10 passed", out)  # doctests one by one, other blocks whole
    assert (tmp_path / "kept" / "drawn.png").read_text() == "picture\n"


def test_the_readme_is_short_and_names_commands_that_work(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", text):
        assert (ROOT / link).exists(), link
    status, out = run_pages(tmp_path, {"readme": text})
    assert status == 0, out


def test_a_change_on_a_page_fails(tmp_path: Path) -> None:
    assert [PAGE.count(old) for old, _ in CHANGES.values()] == [1] * len(CHANGES)
    status, out = run_pages(tmp_path, {name: PAGE.replace(old, new) for name, (old, new) in CHANGES.items()})
    assert status != 0
    assert set(re.findall(r"^(?:FAILED|ERROR) docs/notes/(\w+)\.md", out, re.MULTILINE)) == set(CHANGES)


def test_a_page_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    page = """\
# A page

```python
import os
import torch

assert "LEAK" not in os.environ
assert torch.get_default_dtype() == torch.float32
assert torch.get_num_threads() != 3
assert os.listdir() == os.listdir(os.environ["LENET_LAB_CACHE"]) == []
os.environ["LEAK"] = "1"
torch.set_default_dtype(torch.float64)
torch.set_num_threads(3)
open("left", "w").close()
```
"""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "mine").touch()
    status, out = run_pages(tmp_path, {"first": page, "second": page}, LENET_LAB_CACHE=str(tmp_path / "cache"))
    assert status == 0, out
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mine"]


# begin: notes
NOTES = sorted((ROOT / "docs" / "notes").glob("*.md"))


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.stem)
def test_a_note_says_what_it_is_for_and_ends_with_two_exercises(note: Path) -> None:
    text = note.read_text()
    assert re.match(
        r"# .+\n\nAfter this page you can\n\n(- .+\n(  .+\n)*)+\nRun all of it with `make notes PAGE=", text
    )
    assert f"`make notes PAGE={note.stem}`" in text
    exercises = text.partition("\n## Exercises\n")[2]
    assert len(re.findall(r"^\d\. ", exercises, re.MULTILINE)) == 2
    assert len(re.findall(r"<summary>Solution</summary>", exercises)) == 2


def test_a_changed_value_in_a_copy_of_a_note_fails(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "notes" / "autograd.md").read_text()
    line = "tensor([[4.5000, 4.5000],\n        [4.5000, 4.5000]])"
    assert page.count(line) == 1
    place = page[: page.index(line)].count("\n")
    status, out = run_pages(tmp_path, {"copy": page.replace(line, line.replace("4.5000]])", "4.5001]])"))})
    assert status == 1, out
    assert re.search(rf"FAILED docs/notes/copy\.md::line:{place},", out)


# end: notes
