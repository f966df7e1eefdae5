"""What the pages say that a command prints on a terminal of 80 columns is what it prints."""

import re
import sys
from pathlib import Path
from typing import Final

import pytest
from rich.text import Text

from amdcni.testing import Node, Pod
from tests.netns.command import AMDCNI

# Each command starts a Python of its own, as on a terminal.
pytestmark = pytest.mark.thorough

ROOT: Final = Path(__file__).parents[2]
SHOWN: Final = re.compile(
    r"^<!-- typed: ([^\n]+) -->\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
WIDTH: Final = 80

_TRAINERS: Final = {
    "trainer-0": "8c1f0a7be2d94f0f8a2a6b1d7c3e5f90112233445566778899aabbccddeeff00",
    "trainer-1": "5be20d31fe7745c2b6a4f3c2d1e0a9b8c7d6e5f40312233445566778899aabbc",
}


def shown_on(page: str) -> list[tuple[str, str]]:
    """The commands whose output is on a page, each with it."""
    return SHOWN.findall((ROOT / page).read_text())


def on_a_terminal(node: Node, typed: str) -> str:
    """What the command prints there, without its colours and without its log."""
    program, *words = typed.split()
    assert program == "amdcni"
    one = [sys.executable, "-m", "scripts.screens", "--one", str(AMDCNI), *words]
    said = Text.from_ansi(node.output_of(one)).plain
    return "".join(f"{line}\n" for line in said.splitlines() if not line.startswith("timestamp="))


def without_what_differs(said: str) -> str:
    """The same without times, and without what another kernel gives a veth."""
    said = re.sub(r"\b\d+[smhd]\b", "AGE", said)
    said = re.sub(r"(?<=since {6}).*", "TIME", said)
    said = re.sub(r"^  (?:channels:|features:|link:|sysctl ).*\n", "", said, flags=re.MULTILINE)
    return re.sub(r"\d+ (?=sysctls?\b|values that are usual)", "SOME ", said).strip()


def lend(
    node: Node, plugin: Path, pod: Pod, number: int, *, container: str, args: str, ifname: str
) -> None:
    """Lend the NIC of this number as the pages say."""
    bdf = f"0000:0{number}:00.0"
    addresses = (f"10.0.{number - 1}.0/31", f"fd00:{number}::/127")
    node.add_nic(bdf, f"eth{number}", addresses, mtu=9000)
    if number == 1:
        node.ip("route add 192.0.2.0/24 via 10.0.0.1 dev eth1")
    config = {"cniVersion": "1.0.0", "name": "amd-nic", "type": "amd-host-device"}
    config["deviceID"] = bdf
    added = node.cni(
        "ADD", plugin, config, netns=pod, container_id=container, args=args, ifname=ifname
    )
    added.expect_result()


def args(namespace: str, name: str) -> str:
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}"


@pytest.fixture
def trainers(node: Node, plugin: Path) -> Node:
    """Two pods of the namespace ml have a NIC each, and one of them has died."""
    for number, (name, container) in enumerate(_TRAINERS.items(), start=1):
        pod = node.add_pod(f"cni-5f2b8c{number}d-0be2-4d94-8c1f-0a7be2d94c55")
        call = {"container": container, "args": args("ml", name), "ifname": "net1"}
        lend(node, plugin, pod, number, **call)
        if number == 1:
            pod.ip("link set net1 mtu 1500")
    pod.delete()
    return node


def require_shown(node: Node, page: str) -> None:
    blocks = shown_on(page)
    assert blocks != []
    for typed, said in blocks:
        assert max(map(len, said.splitlines())) <= WIDTH
        assert without_what_differs(on_a_terminal(node, typed)) == without_what_differs(said)


@pytest.mark.parametrize("page", ["docs/how-to/find-a-nic.md", "docs/reference/command.md"])
def test_commands_print_what_a_page_shows_of_two_trainers(trainers: Node, page: str) -> None:
    require_shown(trainers, page)


def test_attachments_prints_what_the_readme_shows(node: Node, plugin: Path) -> None:
    pod = node.add_pod("pod1")
    for number in (1, 2):
        call = {"container": _TRAINERS["trainer-0"], "args": args("default", "workload")}
        lend(node, plugin, pod, number, **call, ifname=f"net{number}")
    require_shown(node, "README.md")
