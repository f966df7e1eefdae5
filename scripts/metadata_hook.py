"""What depends on where the project lives: its URLs, and the links of the README.

An index shows the README without the files beside it, so relative links lead nowhere there.
"""

import re
from pathlib import Path
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK: Final = re.compile(r"\[([^]]+)\]\((?!https?://)([^)#]+)(#[^)]*)?\)")
"""A relative link of Markdown: its words, its path, and where on that page it leads."""


class ProjectPlace(MetadataHookInterface):
    """Sets `urls` and `readme` according to the key `repository` of the hook's table."""

    def update(self, metadata: dict[str, Any]) -> None:
        repository, version = self.config.get("repository"), metadata["version"]
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["urls"] = urls_of(repository, version)
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": linked(text, repository, version),
        }


def urls_of(repository: str | None, version: str) -> dict[str, str]:
    """The project's URLs by their labels; none if nobody has said where it lives."""
    if repository is None:
        return {}
    return {
        "Source": repository,
        "Documentation": _page(repository, version, "docs/index.md"),
        "Changelog": _page(repository, version, "CHANGELOG.md"),
        "Issues": f"{repository}/issues",
    }


def linked(text: str, repository: str | None, version: str) -> str:
    """Markdown whose relative links lead into the repository; without one, only their words."""

    def replaced(link: re.Match[str]) -> str:
        words, path, place = link.groups(default="")
        if repository is None:
            return words
        return f"[{words}]({_page(repository, version, path)}{place})"

    return _LINK.sub(replaced, text)


def _page(repository: str, version: str, path: str) -> str:
    return f"{repository}/blob/v{version}/{path}"
