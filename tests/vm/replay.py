"""On this computer: boots the machine for the tests that were chosen, and shows their reports."""

import compileall
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import define, field

from tests.vm.machine import CHECKOUT, Boot, boot
from tests.vm.packages import NoMachine, Unpacked, unpacked
from tests.vm.recording import REPORTS

CACHE: Final = CHECKOUT / ".vm"
AFTER_REBOOT: Final = "after_reboot"
_POLL_S = 0.1
_PYTEST = ("-m", "pytest", "-vv", "-p", "no:cacheprovider", "--confcutdir=tests/vm", "@/out/tests")


@define
class Session:
    """One machine that is booted again and again, each time for its share of `items`."""

    unpacked: Unpacked
    items: Sequence[pytest.Item]
    folder: Path = CACHE / "session"
    boots: list[Boot] = field(factory=list)
    _told: set[int] = field(factory=set)

    def reports_of(self, item: pytest.Item) -> list[dict[str, Any]] | None:
        """Wait for a test's reports; None if the machine ended without them."""
        number = _boot_number(item)
        while len(self.boots) < number:
            self._boot()
        current = self.boots[number - 1]
        while True:
            running = current.running
            reports = [r for r in _reports(current.folder) if r["nodeid"] == item.nodeid]
            if any(report["when"] == "teardown" for report in reports):
                return reports
            if not running:
                return None
            time.sleep(_POLL_S)

    def last_words_of(self, item: pytest.Item) -> str:
        """Return what a machine that ended early said, the first time that somebody asks."""
        number = _boot_number(item)
        if number in self._told:
            return "(see above)"
        self._told.add(number)
        return self.boots[number - 1].last_words

    def _boot(self) -> None:
        for earlier in self.boots:
            earlier.process.wait()
        number = len(self.boots) + 1
        chosen = [item.nodeid for item in self.items if _boot_number(item) == number]
        folder = self.folder / f"boot-{number}"
        folder.mkdir(parents=True)
        (folder / "tests").write_text("\n".join(chosen))
        variables = ("PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", f"{REPORTS}=/out/reports")
        command = ["env", *variables, "PYTHONDONTWRITEBYTECODE=1", sys.executable, *_PYTEST]
        self.boots.append(boot(self.unpacked, folder, self.folder / "state", command))


_SESSION: Final = pytest.StashKey[Session]()
_REFUSAL: Final = pytest.StashKey[str]()


def show(item: pytest.Item) -> bool | None:
    """Show a test's reports; None, after marking it to be skipped, if there can be no machine."""
    stash = item.config.stash
    if _SESSION not in stash and _REFUSAL not in stash:
        try:
            stash[_SESSION] = _begin(item.session)
        except NoMachine as refusal:
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
    """Switch off what still runs, as after an interrupt."""
    machine = session.config.stash.get(_SESSION, None)
    for each in () if machine is None else machine.boots:
        each.end()


def _begin(session: pytest.Session) -> Session:
    if "PYTEST_XDIST_WORKER" in os.environ:
        raise NoMachine("all tests share one; run them without --numprocesses")
    try:
        CACHE.mkdir(exist_ok=True)
        # One at a time in a checkout: the file stays open as long as this process lives.
        fcntl.flock(os.open(CACHE / "lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)
    except OSError as error:
        raise NoMachine(f"{error.strerror}: {error.filename}") from None
    packages = unpacked(CACHE)
    # The machine cannot write into the checkout, and would compile anew for every process.
    for package in ("amdcni", "amdcni_shim"):
        compileall.compile_dir(CHECKOUT / package, quiet=2)
    ours = [item for item in session.items if item.path.parent == Path(__file__).parent]
    begun = Session(packages, ours)
    shutil.rmtree(begun.folder, ignore_errors=True)
    return begun


def _boot_number(item: pytest.Item) -> int:
    return 1 if item.get_closest_marker(AFTER_REBOOT) is None else 2


def _reports(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / "reports"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    # The last line may still be on its way.
    return (json.loads(line) for line in lines if line.endswith("\n"))


def _shown(item: pytest.Item, machine: Session) -> Iterator[pytest.TestReport]:
    reports = machine.reports_of(item)
    if reports is not None:
        for data in reports:
            yield _report(item.config, data)
        return
    failure = f"the machine ended without a report of this test\n{machine.last_words_of(item)}"
    yield pytest.TestReport(item.nodeid, item.location, {}, "failed", failure, "call")
    yield pytest.TestReport(item.nodeid, item.location, {}, "passed", None, "teardown")


def _report(config: pytest.Config, data: dict[str, Any]) -> pytest.TestReport:
    if isinstance(data["longrepr"], list):
        # The place and reason of a skip, a tuple before it was JSON.
        data = {**data, "longrepr": tuple(data["longrepr"])}
    report: pytest.TestReport
    report = config.hook.pytest_report_from_serializable(config=config, data=data)
    return report
