"""The table of `docs/guides/index.md` says how many lines a reader writes for each change: they are counted here.

A page marks these lines. They stand in fences of Python and YAML whose first line names their file, or is `# a cell` of
a notebook; that line and blank lines do not count. Python without such a line makes the example data of the page, and
what begins with `>>>` looks at results. A link of the table to a heading, `page.md#a-heading`, means the lines below
it; any other link means the page.
"""

import re
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
ROW = re.compile(r"^\|[^|]+\| \[[^\]]+\]\(([\w./-]+\.md)(?:#([\w-]+))?\) \| (\d+) \|$", re.MULTILINE)
FENCE = re.compile(r"^( *)```(?:python|yaml)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"\s*# (?:[\w./-]+\.(?:py|yaml)|a cell)$")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


def table() -> list[tuple[str, str | None, int]]:
    """Pages, headings (None: the whole page) and numbers of lines, as the table has them."""
    rows = ROW.findall((GUIDES / "index.md").read_text())
    return [(page, heading or None, int(lines)) for page, heading, lines in rows]


def section(text: str, heading: str) -> str:
    """What stands below a heading, given as links have it, until the next one of its level or above."""
    plain = FENCE.sub(lambda fence: "\0" * len(fence[0]), text)  # a comment is no heading
    found = list(HEADING.finditer(plain))
    (this,) = [each for each in found if re.sub(r"[^\w -]", "", each[2]).lower().replace(" ", "-") == heading]
    ends = [each.start() for each in found if each.start() > this.start() and len(each[1]) <= len(this[1])]
    return text[this.end() : min(ends, default=len(text))]


def own_lines(text: str) -> int:
    """Count the lines that a reader writes."""
    count = 0
    for _, source in FENCE.findall(text):
        lines = source.splitlines()
        marks = [line for line in lines[:2] if MARK.match(line)]  # Hydra wants its own line to be the first
        if marks:
            count += sum(bool(line.strip()) for line in lines) - 1
    return count


def test_every_row_of_the_table_is_read() -> None:
    text = (GUIDES / "index.md").read_text()
    assert len(table()) == len(re.findall(r"^\|.*\.md", text, re.MULTILINE)) > 5


@pytest.mark.parametrize(("page", "heading", "lines"), table(), ids=str)
def test_the_table_has_the_number_of_own_lines(page: str, heading: str | None, lines: int) -> None:
    text = (GUIDES / page).read_text()
    part = text if heading is None else section(text, heading)
    assert own_lines(part) == lines
    assert not lines or re.search(rf"\b{lines} (own )?lines\b", " ".join(part.split())), "the page says another number"


def test_marked_lines_are_counted() -> None:
    page = """\
# A page

```python
example = "data"  # of the page
```

## First, of two

```yaml
# @package _global_
# conf/a.yaml
key: 1
```

### Below it

```python
# mine/a.py
import this

# why
```

## Second

   ```python
   # a cell
   one = 1
   ```

```python
>>> one
1
```
"""
    assert own_lines(page) == 5
    assert own_lines(section(page, "first-of-two")) == 4
    assert own_lines(section(page, "below-it")) == 2
    assert own_lines(section(page, "second")) == 1
