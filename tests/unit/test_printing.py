"""A table for people loses no word, however narrow the terminal is, or if there is none."""

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni.cli.printing import make_table, print_rows

WORDS = st.text("abc/:.", min_size=1, max_size=30)
CELLS = st.lists(WORDS, max_size=12).map(" ".join)
ROWS = st.integers(1, 6).flatmap(
    lambda columns: st.lists(
        st.lists(CELLS, min_size=columns, max_size=columns), min_size=1, max_size=4
    )
)
HEALED = (
    *("0000:01:00.0", "eth1", "8c1f0a7be2d94/net1", "it is on the host and its pod is gone"),
    "not healed: cannot remove '/var/lib/cni/amd-host-device/0000:01:00.0.json': Read-only",
)


def words_in(printed: str) -> list[str]:
    """The words in the cells of a printed table."""
    return sorted(printed.translate(dict.fromkeys(map(ord, "│┃"), " ")).split())


@given(ROWS, st.integers(1, 200))
@example([HEALED], 80)
@example([HEALED, [""] * 5], 1)
def test_every_word_of_every_row_is_printed_whole(rows: list[list[str]], columns: int) -> None:
    headings = [f"H{number}" for number in range(len(rows[0]))]
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("COLUMNS", str(columns))
        stdout = io.StringIO()
        print_rows(make_table("Title", *headings), rows, stdout)
    printed = stdout.getvalue()
    body = "\n".join(line for line in printed.splitlines() if "│" in line)
    assert words_in(body) == sorted(word for row in rows for cell in row for word in cell.split())
    widths = {len(line) for line in printed.splitlines() if line[:1] in "┏┃┡│└"}
    assert len(widths) == 1, printed
