"""On this computer: boots the machine for the chosen tests, and shows their reports.

A test has no time limit: a machine is given up only when it has ended or stands still.
"""

import compileall
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from attrs import define, field, frozen

from tests.debian import NotHere
from tests.patience import PATIENCE_S
from tests.vm import soft_roce
from tests.vm.machine import CHECKOUT, Boot, boot
from tests.vm.packages import Unpacked, unpacked
from tests.vm.recording import OUT

CACHE: Final = CHECKOUT / ".vm"
_BEFORE_REBOOT, _AFTER_REBOOT = 1, 2
_POLL_S = 0.1
_PYTEST = ("-m", "pytest", "-vv", "-p", "no:cacheprovider", "--confcutdir=tests/vm", "@/out/tests")


class Chosen(Protocol):
    """A test that was chosen: the part of a pytest.Item that matters here."""

    @property
    def nodeid(self) -> str: ...

    def get_closest_marker(self, name: str) -> object | None: ...


@frozen
class Lost:
    """Why a test has no report, and the end of the machine's output."""

    why: str
    last_words: str


@define
class Session:
    """Machines for `tests`, one after the other: before the reboot, and after it.

    `start` boots one that writes into its own folder, keeps its state in another, and runs tests.
    If it ends early or is silent for PATIENCE_S by the clock, only the test that it was running is
    lost: the other tests of its share run in another machine.
    """

    tests: Sequence[Chosen]
    folder: Path
    start: Callable[[Path, Path, Sequence[Chosen]], Boot]
    clock: Callable[[], float] = time.monotonic
    _boots: list[Boot] = field(factory=list)
    _boot_of: dict[str, Boot] = field(factory=dict)
    _hopeless: dict[int, Lost] = field(factory=dict)

    def reports_of(self, test: Chosen) -> list[dict[str, Any]] | Lost:
        """Wait for a test's reports."""
        share = _share_of(test)
        if share in self._hopeless:
            return self._hopeless[share]
        boot = self._boot_of.get(test.nodeid) or self._boot_for(test)
        reports = self._await_reports(boot, test)
        if isinstance(reports, Lost):
            boot.end()
            begun = [sign["test"] for sign in boot.lines("signs") if "test" in sign]
            if not begun:
                self._hopeless[share] = reports
            elif test.nodeid not in begun:
                # The machine was lost during an earlier test.
                del self._boot_of[test.nodeid]
                return self.reports_of(test)
        return reports

    def _boot_for(self, test: Chosen) -> Boot:
        """Boot a machine for the tests from `test` on that belong to its share.

        Only the state folder passes from one machine to the next, and only to the one after the
        reboot: a power failure leaves no more.
        """
        self.end()
        share, state = _share_of(test), self.folder / "state"
        if share == _BEFORE_REBOOT:
            shutil.rmtree(state, ignore_errors=True)
        rest = self.tests[self.tests.index(test) :]
        chosen = [other for other in rest if _share_of(other) == share]
        folder = self.folder / f"boot-{len(self._boots) + 1}"
        folder.mkdir(parents=True)
        self._boots.append(self.start(folder, state, chosen))
        self._boot_of |= dict.fromkeys([other.nodeid for other in chosen], self._boots[-1])
        return self._boots[-1]

    def _await_reports(self, boot: Boot, test: Chosen) -> list[dict[str, Any]] | Lost:
        """Wait for a test's reports as long as something happens in the machine."""
        signs, since = None, self.clock()
        while True:
            now, running, seen = self.clock(), boot.running, boot.signs_of_life
            if seen != signs:
                signs, since = seen, self.clock()
                every = boot.lines("reports")
                reports = [report for report in every if report["nodeid"] == test.nodeid]
                if any(report["when"] == "teardown" for report in reports):
                    return reports
            if not running:
                return Lost("the machine ended without a report of this test", boot.last_words)
            if now > since + PATIENCE_S:
                why = f"the machine stood still: it said nothing for {PATIENCE_S:g} s"
                return Lost(why, boot.last_words)
            time.sleep(_POLL_S)

    def end(self) -> None:
        """Switch off the machines that are still running."""
        for each in self._boots:
            each.end()


_SESSION: Final = pytest.StashKey[Session]()
_REFUSAL: Final = pytest.StashKey[str]()


def show(item: pytest.Item) -> bool | None:
    """Show a test's reports; if there can be no machine, mark it to be skipped and return None."""
    stash = item.config.stash
    if _SESSION not in stash and _REFUSAL not in stash:
        try:
            stash[_SESSION] = _begin(item.session)
        except NotHere as refusal:
            stash[_REFUSAL] = str(refusal)
    if _REFUSAL in stash:
        item.add_marker(pytest.mark.skip(reason=f"no virtual machine: {stash[_REFUSAL]}"))
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _shown(item, stash[_SESSION]):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def end(session: pytest.Session) -> None:
    """Switch off the machines that are still running, as after an interrupt."""
    machine = session.config.stash.get(_SESSION, None)
    if machine is not None:
        machine.end()


def _begin(session: pytest.Session) -> Session:
    if "PYTEST_XDIST_WORKER" in os.environ:
        raise NotHere("all tests share one; run them without --numprocesses")
    try:
        CACHE.mkdir(exist_ok=True)
        # One session at a time in a checkout: the file stays open as long as this process lives.
        fcntl.flock(os.open(CACHE / "lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)
    except OSError as error:
        raise NotHere(f"{error.strerror}: {error.filename}") from None
    packages = unpacked(CACHE)
    # The machine cannot write into the checkout, and every process would compile again.
    for package in ("amdcni", "amdcni_agent", "amdcni_shim", "tests"):
        compileall.compile_dir(CHECKOUT / package, quiet=2)
    ours = [item for item in session.items if item.path.parent == Path(__file__).parent]
    folder = CACHE / "session"
    shutil.rmtree(folder, ignore_errors=True)
    return Session(ours, folder, partial(_boot, packages, _soft_roce(packages, ours)))


def _soft_roce(packages: Unpacked, chosen: Sequence[pytest.Item]) -> Path | str:
    """The module for the tests of RDMA, or why there is none; it takes minutes to build once."""
    if not any(item.path.name == "test_rdma.py" for item in chosen):
        return "no test of RDMA was chosen"
    try:
        return soft_roce.built(packages, CACHE)
    except NotHere as refusal:
        return str(refusal)


def _boot(
    packages: Unpacked, roce: Path | str, folder: Path, state: Path, chosen: Sequence[Chosen]
) -> Boot:
    """Boot a machine that runs the chosen tests and ends after the last one."""
    (folder / "tests").write_text("\n".join(test.nodeid for test in chosen))
    variables = ("PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", f"{OUT}=/out", "PYTHONDONTWRITEBYTECODE=1")
    return boot(packages, folder, state, ["env", *variables, sys.executable, *_PYTEST], roce)


def _share_of(test: Chosen) -> int:
    after = test.get_closest_marker("after_reboot") is not None
    return _AFTER_REBOOT if after else _BEFORE_REBOOT


def _shown(item: pytest.Item, machine: Session) -> Iterator[pytest.TestReport]:
    match machine.reports_of(item):
        case Lost(why, last_words):
            failure = f"{why}\n{last_words}"
            yield pytest.TestReport(item.nodeid, item.location, {}, "failed", failure, "call")
            yield pytest.TestReport(item.nodeid, item.location, {}, "passed", None, "teardown")
        case reports:
            for data in reports:
                yield _report(item.config, data)


def _report(config: pytest.Config, data: dict[str, Any]) -> pytest.TestReport:
    if isinstance(data["longrepr"], list):
        # The place and reason of a skip, which was a tuple before it became JSON.
        data = {**data, "longrepr": tuple(data["longrepr"])}
    report: pytest.TestReport
    report = config.hook.pytest_report_from_serializable(config=config, data=data)
    return report
