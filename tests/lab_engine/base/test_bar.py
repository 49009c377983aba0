"""A bar fits its terminal, leaves nothing behind, and is not drawn elsewhere."""

import io
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest
from rich.console import Console
from rich.text import Text

from lab_engine.base import bar
from lab_engine.base.bar import Bar, draw_bars_on
from tests.screen import terminal

FACTS = ["loss 0.412", "lr 0.001", "1,234 samples/s", "GPU 3.2 GB"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(bar, "SECONDS_BETWEEN_UPDATES", 0.0)
    yield
    draw_bars_on(None)


def drawn(width: int, **options: object) -> str:
    draw_bars_on(console := terminal(width))
    with console.capture() as capture:
        console.print(Bar("epoch 3/20", options.pop("total", 400), done=100, **options).render())  # type: ignore[arg-type]
    return capture.get()


@pytest.mark.parametrize("width", [16, 25, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("total", [400, None])
def test_takes_one_line_of_any_terminal(width: int, total: int | None) -> None:
    (line,) = drawn(width, total=total, facts=lambda: FACTS).splitlines()
    assert len(Text.from_ansi(line)) < width
    assert ("25%" if total else "100") in line
    known = [fact for fact in FACTS if fact in line]
    assert known == FACTS[: len(known)]  # the last ones go first
    assert ("epoch 3/20" in line) == (width >= 25)
    assert ("GPU" in line) == (width >= 80)


def test_counts_bytes_and_things_in_their_units() -> None:
    assert "0 images/s" in drawn(100, unit="image")
    line = drawn(100, total=170_000_000, unit="B")
    assert "bytes/s" in line
    assert "0%" in line


def test_leaves_nothing_and_does_not_tear_what_is_printed() -> None:
    draw_bars_on(console := terminal())
    with Bar("decoding", 10) as shown:
        shown.advance()
        console.print("a warning")
        shown.advance()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "decoding" in text
    above = text.partition("a warning\n")
    assert above[0].endswith("\r\x1b[2K")
    assert text.endswith("\x1b[1A\x1b[2K")


@pytest.mark.parametrize(
    "console",
    [
        lambda: Console(file=io.StringIO()),
        lambda: Console(file=io.StringIO(), _environ={"FORCE_COLOR": "1"}),
        lambda: terminal(TERM="dumb"),
        lambda: terminal(TTY_INTERACTIVE="0"),
    ],
)
def test_is_drawn_on_terminals_only(console: object) -> None:
    draw_bars_on(made := console())  # type: ignore[operator]
    with Bar("decoding", 10) as shown:
        shown.advance()
    assert made.file.getvalue() == ""


def test_has_colours_unless_they_are_not_wanted() -> None:
    for variables, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
        draw_bars_on(console := terminal(**variables))
        with Bar("decoding", 10) as shown:
            shown.advance()
        assert ("\x1b[38;" in console.file.getvalue()) == colours  # type: ignore[attr-defined]


def test_does_without_a_terminal_that_is_gone() -> None:
    console = terminal()
    ours, theirs = os.openpty()
    console.file = os.fdopen(theirs, "w")
    os.close(ours)
    draw_bars_on(console)
    with Bar("decoding", 10) as shown:
        shown.advance()
        shown.advance()
    with suppress(OSError):
        console.file.close()
