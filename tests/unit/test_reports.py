"""The reporting process and the main process: neither waits for, or keeps, what is the other's."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdcni.core.condition import Condition
from amdcni_agent.messages import Attachments, encode
from amdcni_agent.reports import Reporter
from tests.patience import is_alive, wait_until
from tests.unit.reporting import (
    CALL,
    SERVING,
    MainProcess,
    get,
    kill,
    main_process,
    scrape,
    total,
    value_of,
)


@pytest.fixture
def main(tmp_path: Path) -> Iterator[MainProcess]:
    with main_process(tmp_path) as process:
        yield process


def test_what_the_main_process_says_is_served(main: MainProcess) -> None:
    address = main.start()
    main.send(CALL)
    main.send(SERVING)
    wait_until(lambda: get(address, "/readyz")[0] == 200, "the agent is ready")
    assert value_of(scrape(address), "amdcni_agent_info", version="1.0") == 1
    assert total(scrape(address), "amdcni_calls_total") == 1


def test_a_full_channel_drops_messages_and_counts_them(main: MainProcess) -> None:
    address = main.start()
    told = 5000
    kill(main.reporter(), signal.SIGSTOP)
    assert main.obey(f"flood {told} {encode(CALL).decode()}") == "done"
    kill(main.reporter(), signal.SIGCONT)
    dropped = 0.0

    def all_are_counted() -> bool:
        nonlocal told, dropped
        # That messages were dropped is said before the next one.
        main.send(CALL)
        told += 1
        samples = scrape(address)
        dropped = value_of(samples, "amdcni_messages_dropped_total")
        return total(samples, "amdcni_calls_total") + dropped == told

    wait_until(all_are_counted, "every message is counted, as a call or as dropped")
    assert 0 < dropped < told


def test_a_killed_reporting_process_is_noticed_and_started_again(main: MainProcess) -> None:
    first = main.start()
    main.send(CALL)
    main.send(Attachments({Condition.HELD: 3}))
    main.send(SERVING)
    wait_until(lambda: total(scrape(first), "amdcni_calls_total") == 1, "the call is counted")
    assert main.obey("died") == "False"
    kill(main.reporter())
    wait_until(lambda: main.obey("died") == "True", "its death is noticed")
    assert main.obey("died") == "True"
    main.send(CALL)
    second = main.start()
    assert main.obey("died") == "False"
    # What is, is told again; what has happened is counted anew, less what could not be told.
    main.send(SERVING)
    wait_until(lambda: total(scrape(second), "amdcni_messages_dropped_total") == 1, "one is lost")
    samples = scrape(second)
    assert value_of(samples, "amdcni_attachments", condition="held") == 3
    assert value_of(samples, "amdcni_workers", state="idle") == 2
    assert total(samples, "amdcni_calls_total") == 0


def test_starting_it_again_ends_the_one_that_runs(main: MainProcess) -> None:
    main.start()
    first = main.reporter()
    main.start()
    assert not is_alive(first)
    assert main.reporter() != first


def test_it_ends_with_the_main_process_even_if_a_worker_keeps_the_channel_open(
    main: MainProcess,
) -> None:
    main.start()
    reporter, worker = main.reporter(), int(main.obey("worker"))
    try:
        kill(main.process.pid)
        wait_until(lambda: not is_alive(reporter), "the reporting process ends")
        assert is_alive(worker)
    finally:
        kill(worker)


def test_it_ends_with_its_channel(main: MainProcess) -> None:
    main.start()
    reporter = main.reporter()
    main.obey("forget")
    wait_until(lambda: not is_alive(reporter), "the reporting process ends")


def test_stopping_it_leaves_no_process(main: MainProcess) -> None:
    main.start()
    reporter = main.reporter()
    main.obey("stop")
    assert not os.path.exists(f"/proc/{reporter}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_ends_the_agent_leaves_its_reports_until_the_end(
    main: MainProcess, number: signal.Signals
) -> None:
    address = main.start()
    kill(main.reporter(), number)
    main.send(SERVING)
    wait_until(lambda: get(address, "/readyz")[0] == 200, "it still reports")


def test_it_keeps_neither_the_lock_nor_the_socket_of_the_agent(
    main: MainProcess, tmp_path: Path
) -> None:
    main.start()
    folder = Path(f"/proc/{main.reporter()}/fd")
    opened = {os.readlink(fd) for fd in folder.iterdir()}
    assert not {name for name in opened if name.startswith(str(tmp_path))} - {f"{tmp_path}/log"}
    # Its channel and its listener.
    assert len({name for name in opened if name.startswith("socket:")}) == 2


def test_nobody_has_the_lock_after_the_main_process(main: MainProcess, tmp_path: Path) -> None:
    main.start()
    kill(main.process.pid)
    main.process.wait()
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_it_loads_no_http_server_and_no_tls() -> None:
    program = (
        "from amdcni_agent.reports import import_lightly\n"
        "import_lightly()\n"
        "import sys, amdcni_agent.scraping\n"
        "print({'http.server', 'ssl', 'urllib.request'} & set(sys.modules))"
    )
    argv = [sys.executable, "-I", "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_no_variable_makes_it_write_files(tmp_path: Path) -> None:
    values = tmp_path / "values"
    values.mkdir()
    with main_process(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(values)) as main:
        address = main.start()
        main.send(CALL)
        wait_until(lambda: total(scrape(address), "amdcni_calls_total") == 1, "it counts")
        assert list(values.iterdir()) == []


def test_without_an_address_there_is_no_process_and_nothing_has_died() -> None:
    said: list[str] = []
    reporter = Reporter(None, lambda _, event, **facts: said.append(event))
    reporter.start()
    reporter.send(SERVING)
    assert not reporter.died()
    reporter.stop()
    assert said == []
