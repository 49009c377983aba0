"""Compare the speed of lenet_lab with alternatives, on your machine, in one table per section.

    make bench                       # all sections, under 10 minutes on 2 cores
    BENCH=full make bench            # several seeds and more repetitions: hours
    make bench DATA=DIR              # images of your own: DIR/train/<class>/* and DIR/test/<class>/*, ten classes
    python scripts/bench step epoch  # some sections

Without DATA the images are those of LENET_LAB_CIFAR10_IMAGES, or CIFAR-10 as `data=cifar10` finds or downloads it;
if neither is available, digits of the same size, and the table says so. Results go to build/bench/<date and time>:
benchmarks.md, benchmarks.json, a chart and a log for each section. The contenders take turns in one run; figures are
medians with min–max. Leave the machine otherwise idle: other work changes even the ratios. After Ctrl-C, the finished
sections are kept.

Exit status: 2 for an error that the user can fix, 1 if a section failed, 130 after Ctrl-C, else 0, aims met or missed.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import chart
import isolate
import machine
import table
from images import Images, NoImagesError, decode, find
from rich.console import Console
from rich.text import Text
from section import MeasurementError, Section, Setup

SECTIONS = {  # in the order of the table; seconds that each may take in the quick form, nine minutes in all
    "startup": 40,
    "memory": 40,
    "step": 75,
    "batch_path": 25,
    "epoch": 60,
    "recipes": 90,
    "ablation": 600,
    "scaling_data": 25,
    "scaling_batch": 25,
    "scaling_devices": 40,
    "scaling_jobs": 40,
    "sweep": 40,
    "export": 10,
    "dashboard": 60,
    "safety": 240,
    "bar": 240,
}
ONLY_FULL = {"ablation", "bar", "dashboard", "safety"}  # not in the quick form unless named: they need whole runs
REPOSITORY = Path(__file__).resolve().parents[2]
PLACE = REPOSITORY / "build" / "bench"


def fail(message: str) -> NoReturn:
    """End with an error that the user can fix."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def arguments() -> argparse.Namespace:
    """Read and check the command line."""
    description, _, details = (__doc__ or "").partition("\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("scripts/bench", description=description, epilog=details, formatter_class=layout)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of train/<class>/* and test/<class>/*")
    parser.add_argument("--full", action="store_true", help="several seeds, more repetitions; also BENCH=full")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the results")
    options = parser.parse_args()
    if unknown := [name for name in options.sections if name not in SECTIONS]:
        fail(f"there is no section {', '.join(unknown)}. Choose from {', '.join(SECTIONS)}.")
    if (form := os.environ.get("BENCH", "")) not in ("", "quick", "full"):
        fail(f"BENCH={form}: give full, or nothing for the quick form.")
    options.full |= form == "full"
    if options.out and options.out.exists():
        fail(f"--out {options.out} exists already, and nothing is overwritten. Name a new folder.")
    return options


def measure_all(names: list[str], images: Images, full: bool, out: Path, console: Console) -> dict[str, Any]:
    """Measure one section after another, and write the results after each.

    Returns:
        The content of benchmarks.json; `interrupted` is whether Ctrl-C ended it.
    """
    facts = machine.describe()
    console.print(Text(images.about))
    if facts["load_average_before"] > 0.5:
        console.print(Text("warning: other programs are running, which changes even the ratios", style="yellow"))
    results: dict[str, Any] = {"form": "full" if full else "quick", "data": images.about, "machine": facts}
    results |= {"interrupted": False, "sections": {}}
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        for position, name in enumerate(names, 1):
            scratch = Path(place, name)
            scratch.mkdir()
            setup = Setup(images.folder, scratch, full, SECTIONS[name], images.real)
            label = f"[{position:>{len(str(len(names)))}}/{len(names)}] {name:<{max(map(len, names))}}"
            try:
                found, seconds, said = one(name, setup, out, label, console)
            except KeyboardInterrupt:
                results["interrupted"] = True
                console.print(Text(f"{label}  interrupted; the sections before it are kept", style="yellow"))
                break
            style = "red" if "failed" in found else ""
            console.print(Text(f"{label}  {seconds:4.0f} s  {said}", style=style))
            results["sections"][name] = found | {"seconds": seconds}
            write(results, out)
    write(results, out)
    return results


def one(name: str, setup: Setup, out: Path, label: str, console: Console) -> tuple[dict[str, Any], float, str]:
    """Measure a section; return its part of benchmarks.json, the seconds, and a few words about the result."""
    start = time.perf_counter()
    with progress(console, label, start) as tick:
        try:
            section = isolate.run(name, setup, out / f"{name}.log", tick)
        except MeasurementError as error:
            return {"failed": str(error)}, time.perf_counter() - start, f"FAILED\n{error}"
    if section.chart:
        chart.draw(section.chart, section.title, out / f"{name}.svg")
    met = [aim.met for aim in section.aims if aim.met is not None]
    said = f"{sum(met)} of {len(met)} aims met" if met else "done"
    return dataclasses.asdict(section), time.perf_counter() - start, said


@contextmanager
def progress(console: Console, label: str, start: float) -> Any:
    """Show on a terminal for how long a section has been running; yield a function that updates the line."""
    if not console.is_terminal:
        yield lambda said: None
        return
    with console.status(label, refresh_per_second=1) as status:  # more would take time from what is measured

        def tick(said: str) -> None:
            line = Text(f"{label}  {time.perf_counter() - start:4.0f} s  {said}")
            line.truncate(console.width - 3, overflow="ellipsis")
            status.update(line)

        tick("")
        yield tick


def sections_of(results: dict[str, Any]) -> dict[str, Section]:
    """Return the sections that did not fail."""
    done = {name: found for name, found in results["sections"].items() if "failed" not in found}
    return {
        name: isolate.from_json({key: value for key, value in found.items() if key != "seconds"})
        for name, found in done.items()
    }


def about(results: dict[str, Any]) -> list[str]:
    """Return lines about machine, images and form."""
    return [*table.about_machine(results["machine"]), results["data"], f"{results['form']} form"]


def write(results: dict[str, Any], out: Path) -> None:
    """Write benchmarks.json and benchmarks.md, whole."""
    lines = ["# Benchmarks", "", *(f"- {line}" for line in about(results))]
    for name, section in sections_of(results).items():
        lines += ["", table.markdown(section).rstrip()]
        if section.chart:
            lines += ["", f"![{section.title}]({name}.svg)"]
    for name, found in results["sections"].items():
        if "failed" in found:
            lines += ["", f"## {name}", "", "Failed:", "", "```", found["failed"], "```"]
    (out / "benchmarks.md").write_text("\n".join(lines) + "\n")
    (out / "benchmarks.json").write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    """Measure, and print the table."""
    options = arguments()
    code = str(REPOSITORY / "src")  # to measure this checkout, whatever is installed
    sys.path.insert(1, code)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [code, os.environ.get("PYTHONPATH")]))
    os.environ.setdefault("LENET_LAB_CACHE", str(PLACE / "cache"))
    console = Console(highlight=False)
    try:
        images = find(options.data, PLACE / "images")
    except NoImagesError as error:
        fail(str(error))
    decode(images)
    out = options.out or PLACE / datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    out.mkdir(parents=True)
    wanted = options.sections or (SECTIONS if options.full else SECTIONS.keys() - ONLY_FULL)
    names = [name for name in SECTIONS if name in wanted]
    results = measure_all(names, images, options.full, out.absolute(), console)
    console.print()
    for line in about(results):
        console.print(Text(line))
    console.print()
    for section in sections_of(results).values():
        console.print(table.for_terminal(section))
    console.print(Text(f"results  {out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out}"))
    if results["interrupted"]:
        raise SystemExit(130)
    raise SystemExit(any("failed" in found for found in results["sections"].values()))


if __name__ == "__main__":
    main()
