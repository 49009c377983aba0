"""Run a command in a terminal and draw its output, as for docs/images/quickstart.svg.

python scripts/terminal_picture.py docs/images/quickstart.svg make quickstart
"""

import argparse
import io
import os
import pty
import re
import subprocess
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, LINES = 116, 40


def capture(command: list[str]) -> str:
    """Return all output of the command on a terminal of COLUMNS x LINES, with control characters and without bars."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (LINES, COLUMNS))
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm-256color", "TTY_INTERACTIVE": "0"}
    ):
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the command has closed its end
                break
    os.close(ours)
    return shown.decode()


def last_state(line: str) -> str:
    """Return the visible text of a line that was overwritten: the part after the last carriage return with any text."""
    return next((part for part in reversed(line.rstrip("\r").split("\r")) if part.strip()), "")


def main() -> None:
    """Read the command line, run the command, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="the .svg file to write")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run")
    arguments = parser.parse_args()
    lines = capture(arguments.command).split("\n")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold green]$[/] {' '.join(arguments.command)}", highlight=False)
    for line in lines:
        console.print(Text.from_ansi(last_state(line)), soft_wrap=True)
    svg = console.export_svg(title=arguments.command[0])
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # the picture must need no network
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    arguments.picture.write_text(svg)


if __name__ == "__main__":
    main()
