from collections.abc import Iterator

import pytest

from tests.debian import NotHere
from tests.site.browser import Page, browsing
from tests.site.packages import unpacked
from tests.site.pages import build


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """The pages are built."""
    build()


@pytest.fixture(scope="session")
def browser(built: None) -> Iterator[Page]:
    """A page of a browser, or a skip that says why there is none."""
    try:
        packages = unpacked()
    except (NotHere, OSError) as refusal:
        pytest.skip(f"no browser: {refusal}")
    with browsing(packages) as page:
        yield page
