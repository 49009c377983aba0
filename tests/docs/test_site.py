"""The site as `make docs` builds it, and as a browser shows it.

`LENET_LAB_SCREENSHOTS=DIR` keeps the screenshots of all pages in DIR; otherwise they are in pytest's temporary folder.
"""

import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import lab_engine
import lenet_lab
from tests import forked
from tests.browser import DESKTOP, PHONE, Tab, browser  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow  # each needs the site, which takes a quarter of a minute to build

ROOT = Path(__file__).parents[2]
KEEP = "LENET_LAB_SCREENSHOTS"
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS).with_suffix(".html")) for path in DOCS.rglob("*.md"))

AT_THE_END = re.compile(r"^(nanobind: | - (leaked|\.\.\.) |See https://nanobind).*\n?", re.MULTILINE)
"""When a build ends, Triton 3.9 prints what it still holds."""

BLOCKS = """\
# Blocks

```python
>>> for number in range(2):
...     print(number)
...
0

1
>>> number
1
```

```python
def double(number):

    return 2 * number
```

```console
$ python -m lenet_lab.train \\
    seed=1
lenet_lab train
...
$ ls
```

<details><summary>Solution</summary>

```python
>>> "a line that is wider than a phone is, and wider than what a desktop leaves between the two columns at its sides"
```

</details>

| a | table | that | is | wider | than | a | phone | however | the | words | are | broken | and | set |
| - | - | - | - | - | - | - | - | - | - | - | - | - | - | - |
| a | table | that | is | wider | than | a | phone | however | the | words | are | broken | and | set |
"""


def sphinx(build: Path) -> subprocess.CompletedProcess[str]:
    """Build again what `make docs` has prepared in a folder; only what has changed is read and written."""
    words = ["-W", "--keep-going", "--quiet", "-d", build / "doctrees", build / "docs", build / "site"]
    return forked.run([sys.executable, "-m", "sphinx", *words], env=dict(os.environ))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds of the checkout; here it builds outside, and takes the environment for complete."""
    build = tmp_path_factory.mktemp("build")
    if (DOCS / "notes").is_dir():  # the page that draws these is run by a test of its own
        shutil.copytree(DOCS / "notes" / "images", build / "pictures").touch()
    made = f"{sys.prefix}/installed-dev"
    done = subprocess.run(
        ["make", "docs", f"BUILD={build}", f"VENV={sys.prefix}", f"--assume-old={made}"],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert AT_THE_END.sub("", done.stderr) == ""
    assert f"{build}/site/index.html" in done.stdout
    return build / "site"


@pytest.fixture(scope="module")
def blocks(site: Path) -> Path:
    """One more page of the site, with every kind of block."""
    docs = site.with_name("docs")
    with (docs / "index.md").open("a") as index:
        index.write("\n```{toctree}\nblocks\n```\n")
    (docs / "blocks.md").write_text(BLOCKS)
    done = sphinx(site.parent)
    assert (done.returncode, done.stderr) == (0, "")
    return site / "blocks.html"


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = os.environ.get(KEEP)
    folder = Path(chosen).absolute() if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"screenshots: {folder}")
    return folder


class SiteTab(Tab):
    """Looks at a page of the site."""

    def check_content(self) -> None:
        """Errors, headings and images; solutions are unfolded."""
        self.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        images = self.page.evaluate("Array.from(document.images, image => [image.src, image.naturalWidth])")
        assert all(width > 0 for _, width in images), images
        assert self.page.title().endswith("lenet_lab")
        assert self.page.locator("h1, article h2").first.inner_text().strip("¶ ")  # results have no h1
        assert self.complaints == []

    def check_width(self) -> None:
        """Nothing sticks out: only code and tables scroll, inside themselves."""
        wide = self.page.evaluate(
            "[document.documentElement, ...document.querySelectorAll('.content, details')]"
            ".filter(each => each.scrollWidth > each.clientWidth).map(each => each.outerHTML.slice(0, 200))"
        )
        assert wide == []


@pytest.fixture
def tab(browser: Browser) -> Iterator[SiteTab]:  # noqa: F811 - that fixture
    context = browser.new_context(viewport=DESKTOP, offline=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield SiteTab(context)
    context.close()


def look(tab: SiteTab, path: Path, query: str = "") -> None:
    """See a page as readers do, on a desktop and on a phone."""
    tab.page.set_viewport_size(DESKTOP)
    tab.open(path, query)
    tab.check_content()
    tab.check_width()
    tab.page.set_viewport_size(PHONE)
    tab.check_width()
    assert tab.complaints == []


def shoot(tab: SiteTab, path: Path, screenshots: Path, query: str = "") -> None:
    """See a page by day, at night and on a phone, and keep what was seen."""
    look(tab, path, query)
    tab.page.set_viewport_size(DESKTOP)
    tab.page.emulate_media(color_scheme="light")
    light = tab.shoot(screenshots / f"{path.stem}.light.png")
    tab.page.emulate_media(color_scheme="dark")
    dark = tab.shoot(screenshots / f"{path.stem}.dark.png")
    assert light > 200
    assert dark < 55
    tab.page.set_viewport_size(PHONE)
    tab.shoot(screenshots / f"{path.stem}.phone.png")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_looks_right(page: str, tab: SiteTab, site: Path, screenshots: Path) -> None:
    if KEEP in os.environ:
        shoot(tab, site / page, screenshots)
    else:
        look(tab, site / page)


def test_the_reference_looks_right(tab: SiteTab, site: Path) -> None:
    for path in (site / "configuration.html", *site.glob("reference/*.html")):
        look(tab, path)


def test_every_kind_of_block_looks_right(tab: SiteTab, blocks: Path, screenshots: Path) -> None:
    shoot(tab, blocks, screenshots)


def test_the_copy_button_takes_code_without_prompts_and_output(tab: SiteTab, blocks: Path) -> None:
    page = tab.open(blocks)
    copied = []
    for block in page.locator("article .highlight").all()[:3]:
        block.hover()
        block.locator("button.copybtn").click()
        copied.append(page.evaluate("navigator.clipboard.readText()"))
    assert copied == [
        "for number in range(2):\n    print(number)\n\nnumber",
        "def double(number):\n\n    return 2 * number",
        "python -m lenet_lab.train \\\n    seed=1\nls",
    ]
    assert tab.complaints == []


def test_the_search_finds_a_class(tab: SiteTab, site: Path, screenshots: Path) -> None:
    page = tab.open(site / "index.html")
    box = page.locator(".sidebar-search")
    box.fill("BatchLoader")
    box.press("Enter")
    page.locator("#search-results a[href*='lenet_lab.data.html']").first.wait_for()
    shoot(tab, site / "search.html", screenshots, "?q=image")


def test_the_theme_can_be_chosen(tab: SiteTab, site: Path, tmp_path: Path) -> None:
    page = tab.open(site / "index.html")
    assert tab.shoot(tmp_path / "before.png") > 200
    page.locator(".theme-toggle:visible").click()
    assert tab.shoot(tmp_path / "after.png") < 55
    page.reload()
    assert tab.shoot(tmp_path / "again.png") < 55


def test_every_module_is_in_the_reference_once(site: Path) -> None:
    public, packages = set(), {"lenet_lab", "lab_engine"}
    for package in (lenet_lab, lab_engine):
        modules = list(pkgutil.walk_packages(package.__path__, f"{package.__name__}."))
        public |= {each.name for each in modules if "._" not in each.name}
        packages |= {each.name for each in modules if each.ispkg}
    pages = {path.stem: path.read_text() for path in site.glob("reference/*.html")}
    assert pages.keys() == packages
    for name in public | packages:
        html = pages[name if name in packages else name.rpartition(".")[0]]
        assert html.count(f'id="module-{name}"') == 1
    names = [name for html in pages.values() for name in re.findall(r'<dt class="sig[^>]*id="([^"]+)"', html)]
    assert len(names) == len(set(names)) > 500


def test_no_page_names_anything_to_be_fetched(site: Path) -> None:
    for path in site.rglob("*.html"):
        tags = re.findall(r"<(?:link|script|img|iframe|source)\b[^>]*>", path.read_text())
        assert [tag for tag in tags if re.search(r'(?:src|href)="(?:\w+:)?//', tag)] == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:\w+:)?//", path.read_text()), path


def test_a_broken_link_fails_the_build(site: Path, blocks: Path) -> None:
    (site.with_name("docs") / "blocks.md").write_text("# Blocks\n\n[nowhere](nowhere.md)\n")
    done = sphinx(site.parent)
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
