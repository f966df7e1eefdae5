"""Real shells complete the command line, with what the node has lent."""

from pathlib import Path

import pytest

from amdcni.cli.options import Words
from amdcni.testing import Node, Pod
from tests.debian import NotHere
from tests.netns.command import output_of_amdcni, run_amdcni
from tests.netns.runtime import BDF, Runtime, by_delegate, record_of, state_folder
from tests.netns.shells import Fish, Shell, make_shell

OTHER = "0000:c2:00.0"
STRANGE = "0000:c3:00.0"
CONTAINER = "8c1f0a7be2d94" + 51 * "0"
ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=team-a;K8S_POD_NAME=job-1"

LENT = {BDF, "eth1", "team-a/job-1", CONTAINER[:13]}

COMPLETED = {
    "amdcni he": {"heal", "help"},
    "amdcni show ": LENT,
    "amdcni attachments show 0000:c1": {BDF},
    "amdcni attachments show 0000:c1:": {BDF},
    "amdcni release --yes team-a/": {"team-a/job-1"},
    "amdcni heal 8c": {CONTAINER[:13]},
    "amdcni check -n ": {"team-a"},
    "amdcni attachments --namespace=t": {"--namespace=team-a"},
    "amdcni explain --device ": {BDF, OTHER, STRANGE},
    "amdcni check -o ": {"wide", "name", "json", "yaml"},
    "amdcni show eth1 --output=j": {"--output=json"},
    "amdcni manifests --platform o": {"openshift"},
    "amdcni completion ": {"bash", "zsh", "fish", "tcsh"},
    "amdcni help attach": {"attachments"},
    "amdcni heal --dry": {"--dry-run"},
    "amdcni doctor /etc/hostn": {"/etc/hostname"},
    "amdcni uninstall --data-dir /etc/alternativ": {"/etc/alternatives"},
}
"""What the last word becomes, of each line that is typed."""


@pytest.fixture
def lent(runtime: Runtime, node: Node, pod: Pod) -> None:
    """A node with three NICs, one of which a pod has."""
    for bdf, ifname in {BDF: "eth1", OTHER: "eth2", STRANGE: "$(reboot)"}.items():
        node.add_nic(bdf, ifname, [])
    runtime.added(pod, container_id=CONTAINER, args=ARGS)


@pytest.fixture(
    params=[
        "bash",
        pytest.param("zsh", marks=pytest.mark.thorough),
        pytest.param("fish", marks=pytest.mark.thorough),
    ]
)
def shell(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> Shell:
    script = output_of_amdcni(node, "completion", request.param).encode()
    try:
        return make_shell(request.param, script, tmp_path)
    except (NotHere, OSError) as refusal:
        pytest.skip(f"no {request.param}: {refusal}")


@by_delegate
@pytest.mark.usefixtures("lent")
def test_a_shell_completes_commands_options_and_what_is_lent(shell: Shell, node: Node) -> None:
    completed = {typed: _alike(shell.complete(node, typed)) for typed in COMPLETED}
    assert completed == COMPLETED


def _alike(words: set[str]) -> set[str]:
    """Without what shells append: a slash to a folder."""
    return {each.removesuffix("/") for each in words}


def test_a_shell_offers_nothing_where_nothing_is_lent_and_says_nothing(
    shell: Shell, node: Node
) -> None:
    assert shell.complete(node, "amdcni show ") == set()


@pytest.mark.thorough
@pytest.mark.parametrize("shell", ["fish"], indirect=True)
@by_delegate
@pytest.mark.usefixtures("lent")
def test_fish_says_a_few_words_about_each(shell: Fish, node: Node) -> None:
    assert shell.explained(node, "amdcni show ") == {
        BDF: "team-a/job-1",
        "eth1": f"{BDF}, team-a/job-1",
        "team-a/job-1": BDF,
        CONTAINER[:13]: "team-a/job-1",
    }
    (about,) = shell.explained(node, "amdcni hea").values()
    assert about == "returns what no call will return any more"


def words_of(node: Node, kind: Words, *, privileged: bool = True) -> list[str]:
    """What a script is told, without any complaint."""
    asked = ["completion", "bash", "--words", kind]
    done = run_amdcni(node, *asked, privileged=privileged)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode().splitlines()


@by_delegate
@pytest.mark.usefixtures("lent")
def test_who_may_not_read_the_records_is_told_only_of_the_devices(node: Node) -> None:
    state_folder(node).chmod(0)
    assert words_of(node, Words.ATTACHMENTS, privileged=False) == []
    assert words_of(node, Words.NAMESPACES, privileged=False) == []
    assert words_of(node, Words.DEVICES, privileged=False) == [BDF, OTHER, STRANGE]


@by_delegate
@pytest.mark.usefixtures("lent")
def test_a_record_that_cannot_be_read_is_still_named(node: Node) -> None:
    record_of(node).write_text("{")
    assert words_of(node, Words.ATTACHMENTS) == [BDF]
    assert words_of(node, Words.NAMESPACES) == []


@by_delegate
@pytest.mark.usefixtures("lent")
def test_a_name_that_a_shell_would_take_for_a_command_is_not_offered(
    runtime: Runtime, node: Node
) -> None:
    pod = node.add_pod("pod2")
    runtime.having(deviceID=STRANGE, pciBusID=STRANGE).added(pod, container_id="second")
    words = words_of(node, Words.ATTACHMENTS)
    assert STRANGE in words
    assert {*words} - LENT == {STRANGE, "second"}
