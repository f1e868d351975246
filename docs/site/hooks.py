"""mkdocs hooks that add generated pages, and the pages at the root of the repository.

Links to files that are not on the site, such as tests, become plain text.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

from detrex_hub.catalogue import list_weights
from detrex_hub.cli.reference import reference
from detrex_hub.zoo import page as zoo_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parent.parent.parent
# files at the root, and the pages of the site that show them
_AT_ROOT = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_LINK = re.compile(
    r"(?<!!)\[(?P<label>[^\]]*)\]\((?P<target>(?![a-z]+:|#)[^)\s#]+)(?P<part>#[^)]*)?\)"
)
_ZOO = """# Zoo

All weights that detrex-hub knows, with search, filters and a plot: [open the zoo](zoo/index.html).
The page is one file. `detrex-hub zoo` writes it too, with the weights of your own catalogue.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    generated = {
        "reference/commands.md": reference(),
        "zoo.md": _ZOO,
        "zoo/index.html": zoo_page(list_weights()),
        **{name: (_ROOT / file).read_text(encoding="utf-8") for file, name in _AT_ROOT.items()},
    }
    for name, text in generated.items():
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "llms.txt", content=_for_models(files)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    own = page.file.src_uri
    at_root = {name: file for file, name in _AT_ROOT.items()}
    # the folder from which the links of the page start, relative to the root of the repository
    start = "" if own in at_root else join("docs", dirname(own))

    def rewritten(link: re.Match[str]) -> str:
        target = normpath(join(start, link["target"]))
        name = _AT_ROOT.get(target) or (
            target.removeprefix("docs/") if target.startswith("docs/") else None
        )
        if name is None or files.get_file_from_path(name) is None:
            return link["label"]
        up = "../" * own.count("/")
        return f"[{link['label']}]({up}{name}{link['part'] or ''})"

    return _LINK.sub(rewritten, markdown)


def _for_models(files: Files) -> str:
    """`llms.txt`: a description of the site with a line for each page, for language models."""
    lines = [
        "# detrex-hub",
        "",
        "> Pretrained weights for detrex: converted to its names, proven equal to the original,",
        "> and shared on the Hugging Face Hub. A Python package and a command.",
        "",
        "## Pages",
        "",
    ]
    for file in sorted(files.documentation_pages(), key=lambda one: one.src_uri):
        title = re.search(r"^# (.+)$", file.content_string, re.MULTILINE)
        if title is not None:
            lines.append(f"- [{title[1]}]({file.url})")
    return "\n".join([*lines, "- [All weights](zoo/index.html)", ""])
