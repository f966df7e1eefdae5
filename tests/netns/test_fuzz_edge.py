"""The fuzzer's cage holds, and its seeds and finds obey the law of the edge, without atheris.

`make fuzz-edge` looks for more inputs; see tests/fuzz.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import skip_reason
from tests.fuzz import cage, inputs
from tests.fuzz.stage import CHECKOUT
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.thorough


def staged(
    mode: str, calls: Iterable[bytes] = (), checkout: Path = CHECKOUT
) -> "subprocess.CompletedProcess[bytes]":
    """Run the process in the cage and return what it printed."""
    command = cage.command_in_cage([sys.executable, "-m", "tests.fuzz.stage", mode])
    stdin = b"".join(base64.b64encode(call) + b"\n" for call in calls)
    return subprocess.run(command, input=stdin, cwd=checkout, capture_output=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def cages() -> None:
    reason = skip_reason() or cage.skip_reason()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def probed() -> Any:
    """What can be done in the cage."""
    done = staged("probe")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[0])


def test_every_seed_and_every_find_obeys_the_law_of_the_edge() -> None:
    calls = [inputs.encode(call) for call in [*inputs.seeds(), *inputs.FOUND]]
    done = staged("replay", calls)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert json.loads(done.stdout) == {"tried": len(calls)}


def test_only_the_cages_own_files_in_memory_can_be_written(probed: Any) -> None:
    shown = (str(CHECKOUT), sys.prefix, sys.base_prefix)
    assert [path for path in probed["writable"] if path.startswith(shown)] == []
    outside = [path for path in probed["writable"] if not path.startswith(("/run", "/tmp"))]
    assert outside == ["/var/lib/cni"]
    assert probed["system_files"] == []
    assert set(probed["devices"]) == {"null", "zero", "full", "random", "urandom"}


def test_the_cage_works_for_a_checkout_below_tmp() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        checkout = Path(folder, "checkout")
        for package in ("amdcni", "amdcni_agent", "amdcni_shim", "tests"):
            shutil.copytree(CHECKOUT / package, checkout / package)
        done = staged("writable", checkout=checkout)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    writable = json.loads(done.stdout)["writable"]
    assert "/tmp" in writable
    assert [path for path in writable if path.startswith(str(checkout))] == []


def test_no_path_leads_to_a_network_namespace_of_the_machine(probed: Any) -> None:
    (netns,) = probed["netns"]
    assert netns != os.readlink("/proc/self/ns/net")
    assert set(probed["netdevs"]) == {"lo", "enp1s0", "enp2s0"}
    assert probed["sockets"] == []


def test_only_the_plugins_and_the_dynamic_linker_can_be_executed(probed: Any) -> None:
    plugins = {f"{cage.PLUGINS}/{name}" for name in ("host-device", "static", "host-local")}
    assert plugins < set(probed["executables"])
    assert len(probed["executables"]) > 100
    for possible in (probed["found"], probed["executed"]):
        assert {path for path in possible if "/ld" not in path} == plugins


def test_root_in_the_cage_is_nobody_outside_and_has_two_capabilities(probed: Any) -> None:
    assert int(probed["user"]) == (os.getuid() or 65534)
    status = probed["status"]
    both = f"{1 << 12 | 1 << 21:016x}"  # CAP_NET_ADMIN, CAP_SYS_ADMIN
    assert {status["CapPrm"], status["CapEff"], status["CapBnd"]} == {both}
    assert (status["CapInh"], status["CapAmb"]) == ("0" * 16, "0" * 16)
    assert status["NoNewPrivs"] == "1"


def test_the_cage_and_all_in_it_die_with_the_process_that_made_it() -> None:
    program = (
        "import os, subprocess, sys\n"
        "from tests.fuzz import cage\n"
        "run = cage.command_in_cage(['sh', '-c', 'echo; sleep 1000'])\n"
        "subprocess.Popen(run, stdout=subprocess.PIPE).stdout.readline()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    # Everything that it starts has its stderr open, so stderr ends when the last of these ends.
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == -9
