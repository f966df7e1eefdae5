"""How Sphinx builds the documentation; it needs no network."""

import re
import sys
from importlib.metadata import metadata
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring

import amdcni

sys.path.append(str(Path(__file__).parent))
import pictures

project = "amdcni"
author = "The amdcni authors"
project_copyright = author
release = version = amdcni.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["_build"]
html_css_files = ["site.css"]
html_static_path = ["_static"]
# What is copied is what somebody types: without prompts, and without what a command prints.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
source_suffix = {".md": "markdown"}

# Where the project lives is said once, in pyproject.toml; without it, no page links to its source.
urls = dict(url.split(", ", 1) for url in metadata("amdcni").get_all("Project-URL") or [])
if "Source" in urls:
    source_view_link = f"{urls['Source']}/blob/v{version}/docs/{{filename}}"
    html_theme_options = {"top_of_page_buttons": ["view"], "source_view_link": source_view_link}

html_theme = "furo"
html_title = f"amdcni {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
python_use_unqualified_type_names = True

# A type variable is not a name to look up, and Hypothesis has its own documentation.
nitpick_ignore = [
    *(("py:class", f"amdcni.core.{module}.T") for module in ("codec.converter", "libcni")),
    ("py:class", "hypothesis.strategies.SearchStrategy"),
]

# Names of other projects are not links, since their inventories would need the network.
nitpick_ignore_regex = [
    (r"py:.*", rf"{name}(\..*)?")
    for name in (
        "_?collections",
        "_?pytest",
        "attrs?",
        "cattrs",
        "contextlib",
        "enum",
        "http",
        "ipaddress",
        "os",
        "pathlib",
        "prometheus_client",
        "pyroute2",
        "select",
        "signal",
        "_?socket",
        "struct",
        "structlog",
        "subprocess",
        "typing",
    )
]


def setup(app: Sphinx) -> None:
    """Connect the functions below, and draw the pictures that pages show."""
    pictures.write(Path(__file__).parent / "_pictures")
    app.connect("source-read", show_file_names)
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("missing-reference", refer_to_data)


def show_file_names(app: Sphinx, page: str, source: list[str]) -> None:
    """Give a block of code that is a file, as its comment says, the name of the file as caption.

    Of several blocks for one file, each after the first is said to go on with it.
    """
    seen: set[str] = set()

    def captioned(block: re.Match[str]) -> str:
        caption = f"{block['file']}, continued" if block["file"] in seen else block["file"]
        seen.add(block["file"])
        return f"```{{code-block}} {block['language']}\n:caption: {caption}\n\n"

    source[0] = re.sub(
        r"^<!-- file: (?P<file>\S+) -->\n(<!-- skip: next -->\n)?```(?P<language>\w+)\n",
        captioned,
        source[0],
        flags=re.MULTILINE,
    )


def read_sections(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Parse sections such as `Raises:`.

    The whole napoleon extension would take the text before a colon in a variable's docstring for
    its type.
    """
    if what not in {"attribute", "data", "property"}:
        lines[:] = GoogleDocstring(lines, what=what).lines()


def refer_to_data(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Return a link to a NewType or a union, which annotations call a class and autodoc data."""
    if (node["refdomain"], node["reftype"]) != ("py", "class"):
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, "data", node["reftarget"], node, content
    )
