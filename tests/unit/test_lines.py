"""The agent's log lines never wait for their reader."""

import fcntl
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni_agent.lines import Lines

PAGES = 4
PAGE_BYTES = 4096


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe with room for four pages, whose writing end waits."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGES * PAGE_BYTES)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read_all(reading: int) -> str:
    """What is in a pipe now."""
    os.set_blocking(reading, False)
    taken = b""
    while True:
        try:
            taken += os.read(reading, 1 << 20)
        except BlockingIOError:
            return taken.decode()


def test_a_line_that_there_is_room_for_is_written_as_it_is(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    print("level=info event=serving", file=Lines(writing), flush=True)
    assert read_all(reading) == "level=info event=serving\n"


def test_lines_that_nobody_reads_are_lost_and_counted(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    lines = Lines(writing)
    for number in range(1000):
        print(f"line {number} " + "x" * 200, file=lines, flush=True)
    kept = read_all(reading)
    print("the reader is back", file=lines, flush=True)
    whole = (kept + read_all(reading)).splitlines()
    numbered = [line for line in whole if line.startswith("line ")]
    assert [line.split()[1] for line in numbered] == [str(n) for n in range(len(numbered))]
    assert 0 < len(numbered) < 1000
    said = [f"log lines lost: {1000 - len(numbered)}", "the reader is back"]
    assert whole[len(numbered) :] == said


@given(st.lists(st.tuples(st.integers(1, 3 * PAGES * PAGE_BYTES), st.booleans()), max_size=20))
def test_whatever_is_written_and_read_every_line_is_whole_or_counted(
    written: list[tuple[int, bool]],
) -> None:
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGES * PAGE_BYTES)
        lines, text = Lines(writing), ""
        for length, is_read in written:
            print("x" * length, file=lines, flush=True)
            text += read_all(reading) if is_read else ""
        for _ in range(PAGES):
            text += read_all(reading)
            print("end", file=lines, flush=True)
        text += read_all(reading)
    finally:
        os.close(reading)
        os.close(writing)
    said = text.splitlines()
    lost = sum(int(line.split()[-1]) for line in said if line.startswith("log"))
    whole = [len(line) for line in said if line.startswith("x")]
    ends = said.count("end")
    assert len(whole) + ends + lost == len(written) + PAGES
    remaining = iter(length for length, _ in written)
    assert all(length in remaining for length in whole)


def test_a_descriptor_that_is_closed_is_an_error_and_not_a_wait() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        print("to nobody", file=Lines(writing), flush=True)
