"""How Sphinx builds the site. `make docs` builds a copy of this folder, so what is written here stays out of git.

A page of the reference is made for every package, so that no list of modules is kept by hand.
"""

import ast
import gc
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util.rst import escape
from sphinx.util.typing import restify

import lab_engine
import lenet_lab
from lab_engine.cli import reference_page

gc.disable()  # a build keeps most of the objects that it makes: to look through them took a quarter of its time

project = "lenet_lab"
version = release = lenet_lab.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

html_theme = "furo"
html_title = "lenet_lab"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_use_index = False  # the search finds names, too
html_domain_indices = False  # the first page of the reference is the list of modules
html_show_search_summary = False  # a browser does not let a page that was opened as a file read the others
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"

autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 110
python_use_unqualified_type_names = True
napoleon_custom_sections = [("Attributes", "params_style")]  # a list, not an entry for each
add_module_names = False
toc_object_entries_show_parents = "hide"
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!lenet_lab\.|lab_engine\.).*")]  # the sites of other packages are not at hand

copybutton_prompt_text = r"(?:>>>|\.\.\.)(?: |$)|\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .go"  # what was printed, where "..." may stand for what is left out
copybutton_copy_empty_lines = False  # they part outputs; in code an empty line has its prompt
copybutton_line_continuation_character = "\\"

PACKAGES = [Path(package.__file__).parent for package in (lenet_lab, lab_engine)]
SOURCE = PACKAGES[0].parent


def write_reference(app: Sphinx) -> None:
    """Write `reference/<package>.rst` for each package: its modules one after another, and links to packages in it."""
    (app.srcdir / "configuration.md").write_text(reference_page.page("lenet_lab"))  # all options and keys
    folder = app.srcdir / "reference"
    folder.mkdir(exist_ok=True)
    for package in PACKAGES:
        for path in filter(is_package, (package, *sorted(package.rglob("*")))):
            page = folder / f"{module_name(path)}.rst"
            text = "\n".join(package_page(path)) + "\n"
            if not page.is_file() or page.read_text() != text:  # a page that is written anew is read anew
                page.write_text(text)


def package_page(path: Path) -> list[str]:
    """Return the lines of the page of a package."""
    modules = [child for child in sorted(path.iterdir()) if is_module(child)]
    inside = [child for child in sorted(path.iterdir()) if is_package(child)]
    name = module_name(path)
    lines = [name, "=" * len(name), "", f".. automodule:: {name}", "", ".. toctree::", "   :hidden:", ""]
    lines += [f"   {child.name} <{module_name(child)}>" for child in inside]
    lines += ["", ".. list-table::", "   :class: modules", "   :widths: auto", ""]
    for child in (*inside, *modules):
        lines += [f"   * - :py:mod:`{child.stem} <{module_name(child)}>`", f"     - {first_line(child)}"]
    for child in modules:
        title = module_name(child)
        lines += ["", title, "-" * len(title), "", f".. automodule:: {title}"]
    return lines


def is_package(path: Path) -> bool:
    """Tell whether this is a package with a public name."""
    return (path / "__init__.py").is_file() and not path.name.startswith("_")


def is_module(path: Path) -> bool:
    """Tell whether this is a module with a public name."""
    return path.suffix == ".py" and not path.name.startswith("_")


def module_name(path: Path) -> str:
    """From the path of a module to its name with dots."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def first_line(path: Path) -> str:
    """What the docstring of a module begins with."""
    file = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return literal(docstring.partition("\n")[0])


def stay_inside(app: Sphinx, document: str, source: list[str]) -> None:
    """Pages link to files of the repository, for those who read them there; here a module is its place, the rest text.

    What does not exist stays a link, so that Sphinx complains.
    """
    docs = SOURCE.parent / "docs"

    def turn(link: re.Match[str]) -> str:
        text, path = link[1], (docs / document).parent.joinpath(link[2]).resolve()
        if not path.exists() or path.is_relative_to(docs):
            return link[0]
        inside = any(map(path.is_relative_to, PACKAGES)) and (is_module(path) or is_package(path))
        return f"{{py:mod}}`{text.strip('`')} <{module_name(path)}>`" if inside else text

    source[0] = re.sub(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)(?:#[^)\s]*)?\)", turn, source[0])


def literal(text: str) -> str:
    """Single backticks are code, as in Markdown; a plain name stays a reference that may lead somewhere."""
    return re.sub(
        r"(?<![`:])`([^`]+)`(?!`)",
        lambda code: code[0] if re.fullmatch(r"[\w.]+", code[1]) else f"`{code[0]}`",
        text,
    )


def prepare_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Mark code, and list the keys of a schema with what is allowed there."""
    lines[:] = literal("\n".join(lines)).split("\n")
    if is_schema(obj) and "Attributes:" not in lines:
        own = [(key, field) for key, field in obj.model_fields.items() if key in obj.__annotations__]
        lines += ["Attributes:"] * bool(own)
        for key, field in own:
            allowed = escape(field.description) if field.description else restify(field.annotation, "smart")
            lines.append(f"    {field.alias or key}: {allowed}")


def prepare_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Shorten the types of arrays; a schema has no signature, for its objects come from the configuration."""
    if is_schema(obj):
        return "", None
    array = r"~?numpy\.ndarray\[tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[([^\[\]]*)\]\]"
    return tuple(text and re.sub(array, r"~numpy.typing.NDArray[\1]", text) for text in (signature, returned))


def is_schema(obj: Any) -> bool:
    """Tell whether this is a class of the schema."""
    return isinstance(obj, type) and issubclass(obj, BaseModel)


def drop_object(app: Sphinx, doctree: nodes.document) -> None:
    """Every class is an object: no need to say so."""
    for line in list(doctree.findall(nodes.paragraph)):
        if line.astext() == "Bases: object":
            line.parent.remove(line)


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("builder-inited", write_reference)
    app.connect("source-read", stay_inside)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", prepare_signature)
    app.connect("doctree-read", drop_object)
