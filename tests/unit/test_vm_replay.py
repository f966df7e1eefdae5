"""A machine that ends early or hangs loses the test that it was running, and no other."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import field, frozen

from tests.patience import PATIENCE_S
from tests.vm.machine import Boot
from tests.vm.replay import Chosen, Lost, Session


@frozen
class Named:
    """A test in the machine, and what goes wrong the first time that it runs."""

    nodeid: str
    trouble: str | None = None
    after_reboot: bool = False

    def get_closest_marker(self, name: str) -> object | None:
        return name if self.after_reboot else None


@frozen
class Machines:
    """Processes that write what machines write; each trouble happens once.

    Time passes with what they write, and while one hangs.
    """

    folder: Path
    started: list[list[str]] = field(factory=list)
    had: set[str] = field(factory=set)
    ticks: list[float] = field(factory=list)

    def clock(self) -> float:
        boots = sorted(self.folder.glob("boot-*"))
        if (boots[-1] / "still").exists():
            self.ticks.append(PATIENCE_S)
        said = sum(path.read_bytes().count(b"\n") for path in self.folder.glob("boot-*/signs"))
        return sum(self.ticks) + PATIENCE_S * said / 3

    def start(self, folder: Path, state: Path, chosen: Sequence[Chosen]) -> Boot:
        self.started.append([test.nodeid for test in chosen])
        state.mkdir(exist_ok=True)
        lines = ["cd " + str(folder)]
        for test in chosen:
            assert isinstance(test, Named)
            trouble = None if test.nodeid in self.had else test.trouble
            if trouble == "stillborn":
                lines.append("exit")
            lines.append(f"echo '{json.dumps({'test': test.nodeid})}' >> signs")
            if trouble is not None:
                self.had.add(test.nodeid)
                lines.append(trouble)
                break
            for when in ("setup", "call", "teardown"):
                report = json.dumps({"nodeid": test.nodeid, "when": when})
                lines.append(f"echo '{report}' >> reports")
        return Boot(subprocess.Popen(["sh", "-c", "\n".join(lines)]), folder)


STANDS_STILL = "touch still; exec sleep 1000"
ENDS = "exit 1"


def played(folder: Path, *tests: Named) -> tuple[dict[str, str], list[list[str]]]:
    """What became of each test, and the tests of each machine."""
    machines = Machines(folder)
    session = Session(tests, folder, machines.start, machines.clock)
    found = {}
    for test in tests:
        reports = session.reports_of(test)
        found[test.nodeid] = reports.why if isinstance(reports, Lost) else "shown"
    session.end()
    return found, machines.started


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (ENDS, "the machine ended without a report of this test"),
        (STANDS_STILL, "the machine stood still: it said nothing for 300 s"),
    ],
)
def test_the_tests_after_a_lost_one_run_in_another_machine(
    tmp_path: Path, trouble: str, why: str
) -> None:
    found, started = played(tmp_path, Named("a"), Named("b", trouble), Named("c"), Named("d"))
    assert found == {"a": "shown", "b": why, "c": "shown", "d": "shown"}
    assert started == [["a", "b", "c", "d"], ["c", "d"]]


def test_a_test_may_take_any_time_while_there_are_signs_of_life(tmp_path: Path) -> None:
    goes_on = "for i in 1 2 3 4 5 6; do echo '{}' >> signs; sleep 0.3; done"
    report = json.dumps({"nodeid": "a", "when": "teardown"})
    found, _ = played(tmp_path, Named("a", f"{goes_on}; echo '{report}' >> reports"))
    assert found == {"a": "shown"}


def test_if_no_machine_reaches_its_tests_only_one_is_booted(tmp_path: Path) -> None:
    tests = [Named(name, "stillborn") for name in "abc"]
    found, started = played(tmp_path, *tests)
    assert set(found.values()) == {"the machine ended without a report of this test"}
    assert started == [["a", "b", "c"]]


def test_the_machine_after_the_reboot_has_the_state_from_before(tmp_path: Path) -> None:
    tests = [Named("a", f"touch {tmp_path}/state/record; {ENDS}"), Named("b")]
    found, started = played(tmp_path, *tests, Named("c", after_reboot=True))
    assert found["c"] == "shown"
    assert started == [["a", "b"], ["b"], ["c"]]
    # The second machine started afresh, before the reboot.
    assert not (tmp_path / "state/record").exists()
    more = tmp_path / "more"
    lasting = Named("a", f"touch {more}/state/record; echo '{{}}' >> signs; {ENDS}")
    played(more, lasting, Named("b", after_reboot=True))
    assert (more / "state/record").exists()


def test_a_lost_test_is_reported_with_the_last_words_of_the_machine(tmp_path: Path) -> None:
    last = 'echo \'{"started": ["ip", "link"]}\' >> signs; echo "Kernel panic" > console'
    test = Named("a", f"{last}; {ENDS}")
    session = Session([test], tmp_path, Machines(tmp_path).start)
    lost = session.reports_of(test)
    assert isinstance(lost, Lost)
    assert '"started": ["ip", "link"]' in lost.last_words
    assert "Kernel panic" in lost.last_words
