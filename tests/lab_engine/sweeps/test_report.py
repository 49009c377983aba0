"""What a report leaves in a sweep's folder, and the page as a browser shows it."""

import csv
import json
import re
import socket
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from rich.console import Console

from lab_engine.artifacts.run_folder import lock
from lab_engine.sweeps.report import report
from tests.browser import DESKTOP, PHONE, Tab, browser, rows_of  # noqa: F401 - a fixture
from tests.lab_engine.sweeps.sweep_folders import results, sgd, write_grid, write_job

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> %{y} ${a} &lt;b&gt;"
)


def printed(sweep: Path, width: int = 110, metric: str = "val/accuracy") -> list[str]:
    console = Console(file=StringIO(), width=width, highlight=False)
    console.print(report(sweep, metric, "max"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines: list[str] = text.splitlines()
    assert max(map(len, lines)) <= width
    return [" ".join(line.split()) for line in lines]


def rows(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def half_failed(tmp_path: Path) -> Path:
    """Two learning rates, three seeds; one job has failed, one was never started."""
    for number, (lr, seed) in enumerate([(lr, seed) for lr in (0.001, 0.01) for seed in (1, 2, 3)]):
        state, reason = {2: ("failed", "ValueError: [red]no"), 3: ("waiting", "")}.get(number, ("done", ""))
        validation = (0.90 if lr == 0.01 else 0.80) + seed / 100
        write_job(
            tmp_path,
            number,
            ["data=digits", f"optimizer.lr={lr}", f"seed={seed}"],
            state,  # type: ignore[arg-type]
            reason=reason,
            metrics=results(validation, 0.7) if state == "done" else None,
            curve=[] if state == "waiting" else [validation - 0.2, validation],
            optimizer=sgd(lr),
            seed=seed,
        )
    return tmp_path


def test_the_tables_say_what_came_out_and_what_failed(half_failed: Path) -> None:
    lines = printed(half_failed)
    assert lines[0] == "6 jobs: 4 done, 1 failed, 1 waiting"
    assert "0.01 2 of 3 92.50 ± 0.71 % 70.00 ± 0.00 % 10.0 s 4 5" in lines
    assert "0.001 2 of 3 81.50 ± 0.71 % 70.00 ± 0.00 % 10.0 s 0 1" in lines
    assert lines.index("2 failed optimizer.lr=0.001 seed=3") + 1 == lines.index("ValueError: [red]no")
    assert lines[-1] == (
        "best by val/accuracy: optimizer.lr=0.01 (n=2 of 3, jobs 4 5): val 92.50 ± 0.71 %, test 70.00 ± 0.00 %"
    )


def test_results_that_are_as_good_as_the_best_are_told(tmp_path: Path) -> None:
    for number, (lr, accuracy) in enumerate([(0.1, 0.9), (0.2, 0.5), (0.3, 0.9)]):
        write_job(tmp_path, number, [f"optimizer.lr={lr}"], metrics=results(accuracy, 0.5), optimizer=sgd(lr))
    assert " ".join(printed(tmp_path)[-2:]) == (
        "best by val/accuracy: optimizer.lr=0.1 (n=1, job 0): val 90.00 %, test 50.00 %; "
        "1 other has the same val/accuracy"
    )


def test_a_narrow_terminal_stays_readable(half_failed: Path) -> None:
    lines = printed(half_failed, width=60)
    assert "0.01 2 of 3 92.50 ± 0.71 % 70.00 ± 0.00 %" in lines
    for number in range(6):
        write_job(
            half_failed, 10 + number, [f"+data.one_more_parameter_of_many={number}"], metrics=results(0.95, 0.9), seed=9
        )
    (half_failed / "10" / "config.yaml").unlink()
    text = "".join(printed(half_failed, width=60)).replace(" ", "")
    assert "data.one_more_parameter_of_many=5" in text
    assert "95.00%90.00%" in text


def test_many_jobs_do_not_flood_the_terminal(tmp_path: Path) -> None:
    write_grid(tmp_path, 300, epochs=1)
    lines = printed(tmp_path)
    assert len(lines) < 80
    assert "… and 4 more groups: results.csv has all jobs" in lines
    assert "… and 10 more jobs: results.csv has all jobs" in lines
    assert len(rows(tmp_path)) == 300


def test_nothing_in_a_file_steers_the_terminal(tmp_path: Path) -> None:
    write_job(tmp_path, 0, ["+note=\x1b]0;owned\x07"], "failed", reason="\x1b[31m\ud800\r")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", "".join(printed(tmp_path)))


def test_the_csv_has_a_row_a_job(half_failed: Path) -> None:
    report(half_failed, "val/accuracy", "max")
    table = rows(half_failed)
    assert list(table[0])[:9] == [
        *("number", "folder", "state", "reason", "seconds", "optimizer.lr", "seed", "val/loss", "val/accuracy")
    ]
    assert [row["state"] for row in table] == ["done", "done", "failed", "waiting", "done", "done"]
    assert table[2] == {
        **dict.fromkeys(table[2], ""),
        "number": "2",
        "folder": "2",
        "state": "failed",
        "reason": "ValueError: [red]no",
        "seconds": table[2]["seconds"],
        "optimizer.lr": "0.001",
        "seed": "3",
    }
    assert float(table[4]["val/accuracy"]) == pytest.approx(0.92)
    assert sorted(path.name for path in half_failed.iterdir() if path.is_file()) == ["report.html", "results.csv"]


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1+1", "@A1", "\t=1", "\r=1"])
def test_a_spreadsheet_finds_no_formula(tmp_path: Path, formula: str) -> None:
    write_job(tmp_path, 0, [f"+note={formula}"], reason=formula, metrics={**results(0.5, 0.5), formula: -2.5})
    write_job(tmp_path, 1, ["+note=a,\nb"], "failed", reason=formula)
    report(tmp_path, "val/accuracy", "max")
    first, second = rows(tmp_path)
    assert (first["reason"], first["note"]) == (f"'{formula}", f"'{formula}")
    assert (second["reason"], second["note"]) == (f"'{formula}", "a,\nb")
    assert first[f"'{formula}"] == "-2.5"


def test_another_metric_may_choose(half_failed: Path) -> None:
    console = Console(file=StringIO(), width=110)
    console.print(report(half_failed, "val/loss", "max"))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "best by val/loss: optimizer.lr=0.001 (n=2 of 3, jobs 0 1): val 0.1850 ± 0.0071, test 0.3 ± 0" in said


def test_a_sweep_in_which_nothing_is_done_yet(tmp_path: Path) -> None:
    write_job(tmp_path, 0, ["seed=1"], "waiting")
    assert printed(tmp_path)[-1] == "no job is done and has val/accuracy yet"


# The page


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:  # noqa: F811 - that fixture
    context = browser.new_context(viewport=DESKTOP, offline=True)
    yield Tab(context)
    context.close()


def test_the_page_shows_all_by_day_at_night_and_on_a_phone(tab: Tab, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    write_grid(sweep, 48, epochs=5)
    report(sweep, "val/accuracy", "max")
    tab.page.emulate_media(color_scheme="light")
    page = tab.open(sweep / "report.html")
    assert page.title() == "sweep · sweep"
    assert page.locator("#state").inner_text() == "stopped, 4 of 48 jobs not done"
    assert "model=small optimizer.lr=0.0171" in page.locator("#best").inner_text()
    assert len(rows_of(tab, "#groups")) == 16
    assert [row[:2] for row in rows_of(tab, "#jobs")[:5]] == [[str(n), "failed"] for n in (9, 19, 29, 39)] + [
        ["0", "done"]
    ]
    assert page.locator("#importance .bar").count() == 2
    page.locator("#axes .axis-title").last.wait_for()
    assert page.locator("#axes .axis-title").all_text_contents() == ["model", "optimizer.lr", "val/accuracy"]
    # ten groups of up to three jobs in colour, all others in one trace
    assert page.evaluate("document.getElementById('curves').data.length") == 31
    page.locator("#curve-groups .chip").last.click()
    assert page.evaluate("document.getElementById('curves').data.length") == 30
    page.locator("#curve-names .chip", has_text="val/loss").click()
    assert page.evaluate("document.getElementById('curves').layout.yaxis.title.text") == "val/loss"
    assert tab.shoot(tmp_path / "light.png") > 200
    tab.page.emulate_media(color_scheme="dark")
    assert tab.shoot(tmp_path / "dark.png") < 55
    tab.page.set_viewport_size(PHONE)
    page.wait_for_function(f"document.documentElement.scrollWidth <= {PHONE['width']}")  # when plots have been redrawn
    tab.shoot(tmp_path / "phone.png")
    assert tab.complaints == []


def test_a_click_on_a_column_sorts_by_its_numbers(tab: Tab, tmp_path: Path) -> None:
    for number, lr in enumerate((0.5, 10, 9)):
        write_job(tmp_path, number, [f"optimizer.lr={lr}"], "done" if number else "failed", optimizer=sgd(lr))
    for number, accuracy in ((1, 0.5), (2, 0.0625)):
        (tmp_path / str(number) / "metrics.json").write_text(json.dumps(results(accuracy, 0.5)))
    report(tmp_path, "val/accuracy", "max")
    page = tab.open(tmp_path / "report.html")
    column = page.locator("#jobs th button")
    for name, orders in {"optimizer.lr": ["021", "120"], "val/accuracy": ["210", "120"]}.items():
        for order in orders:
            column.get_by_text(name, exact=True).click()
            assert "".join(row[0] for row in rows_of(tab, "#jobs")) == order


def test_no_word_of_a_job_becomes_part_of_the_page(tab: Tab, tmp_path: Path) -> None:
    sweep = tmp_path / "a<b>&amp; c"
    for number in range(12):
        note, folder = f"{number}{HOSTILE}", f"x{number}<i>#?%41"
        extra = {HOSTILE: 0.5, f"val/{HOSTILE}": 0.1}
        write_job(
            sweep,
            number,
            [f"+note={note}", f"+{HOSTILE.partition('=')[0]}={number % 3}"],
            reason=HOSTILE,
            metrics={**results(0.5 + number / 100, 0.5), **extra},
            curve=[0.1, 0.2],
            folder=folder,
            note=note,
        )
    report(sweep, "val/accuracy", "max")
    page = tab.open(sweep / "report.html")
    page.locator("#axes .axis-title").last.wait_for()
    page.evaluate("Plotly.Fx.hover('curves', [{curveNumber: 0, pointNumber: 1}])")
    label = page.locator("#curves .hovertext").first.text_content()
    assert label is not None
    assert "</script><script>" in label
    assert page.title() == "a<b>&amp; c · sweep"
    assert page.locator("main img, main i:not(.chip i, .bar i), main b, main script").count() == 0
    assert rows_of(tab, "#jobs")[3][-1] == HOSTILE
    href = page.locator("#jobs a").first.evaluate("link => link.href")
    assert href == (sweep / "x0<i>#?%41").as_uri() + "/"
    assert tab.complaints == []


def test_the_page_of_a_running_sweep_says_so(tab: Tab, tmp_path: Path) -> None:
    place = write_job(tmp_path, 0, ["seed=1"], "running", curve=[0.4], host=socket.gethostname(), seed=1)
    with lock(place):
        report(tmp_path, "val/accuracy", "max")
    page = tab.open(tmp_path / "report.html")
    assert page.locator("#state").inner_text() == "running"
    assert re.search(r"1 running\. As it was at 20\d\d-\d\d-\d\d \d\d:\d\d", page.locator("#count").inner_text())
    assert "No job is done" in page.locator("#best").inner_text()
    assert page.evaluate("document.getElementById('curves').data.length") == 1
    assert "This needs 10 finished jobs" in page.locator("#importance").inner_text()
    assert "This needs finished jobs" in page.locator("#axes").inner_text()
    assert tab.complaints == []
