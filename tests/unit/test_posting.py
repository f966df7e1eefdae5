"""Events on their way to an API server, over TLS: whatever it does, nobody else waits for it."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from amdcni.core.errors import InvalidEnvironment
from amdcni_agent.cluster import Cluster, ServiceAccount, find_cluster
from amdcni_agent.happenings import Happened, Happening, Pod
from amdcni_agent.kube_events import (
    Exists,
    Forbidden,
    Gone,
    Later,
    Posted,
    Refused,
    Told,
    events_of,
)
from amdcni_agent.outbox import Limits, Moment, Outbox, Request
from amdcni_agent.posting import Patience, Poster, ask
from tests.patience import PATIENCE_S, wait_until
from tests.unit.fake_api_server import ApiServer, make_certificates, serving

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the certificates"
)

POD = Pod("default", "job-1", "0b0b0b0b-0000-4000-8000-000000000001")
HAPPENED = Happened(Happening.REFUSED, "net1", "ADD of net1 was refused: it is held", POD)
NEVER = 1e9
"""A test that waits for so many seconds is ended by what limits all tests."""


def request_of(happened: Happened = HAPPENED, name: str = "job-1.1", count: int = 1) -> Request:
    event = next(events_of(happened))
    told = Told(event, "node-1", name, happened.words, count, 1_800_000_000, 1_800_000_000)
    return Request(told, is_new=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, "IP:127.0.0.1", "IP:::1", "DNS:kubernetes.default.svc")
    return folder


@pytest.fixture
def server(tmp_path: Path, certificates: Path) -> ApiServer:
    for name in ("ca.crt", "server.pem"):
        shutil.copy(certificates / name, tmp_path)
    (tmp_path / "token").write_text("first\n")
    return ApiServer(tmp_path)


@contextmanager
def account_in(folder: Path) -> Iterator[ServiceAccount]:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield ServiceAccount(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def cluster_of(server: ApiServer, host: str = "127.0.0.1") -> Iterator[Cluster]:
    with serving(server, host) as port, account_in(server.folder) as account:
        yield Cluster(host, port, account, "node-1")


@pytest.fixture
def cluster(server: ApiServer) -> Iterator[Cluster]:
    with cluster_of(server) as cluster:
        yield cluster


# ---- one request


def test_an_event_is_created_and_counted_on(server: ApiServer, cluster: Cluster) -> None:
    assert ask(cluster, request_of()) == Posted()
    event = server.events["default", "job-1.1"]
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "default",
        "name": "job-1",
        "uid": POD.uid,
    }
    assert (event["type"], event["reason"]) == ("Warning", "NICAttachRefused")
    assert event["message"] == HAPPENED.words
    assert event["source"] == {"component": "amdcni", "host": "node-1"}
    patch = Request(attrs.evolve(request_of().told, count=7), is_new=False)
    assert ask(cluster, patch) == Posted()
    assert server.events["default", "job-1.1"]["count"] == 7


def test_an_event_on_the_node_is_where_kubectl_looks_for_it(
    server: ApiServer, cluster: Cluster
) -> None:
    assert ask(cluster, request_of(attrs.evolve(HAPPENED, pod=None), "node-1.1")) == Posted()
    about = server.events["default", "node-1.1"]["involvedObject"]
    assert about == {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "node-1"}


def test_an_api_server_may_have_an_ipv6_address(server: ApiServer) -> None:
    with cluster_of(server, "::1") as cluster:
        assert ask(cluster, request_of()) == Posted()


def test_the_token_is_read_anew_as_the_kubelet_replaces_it(
    server: ApiServer, tmp_path: Path, certificates: Path
) -> None:
    """As in a projected volume: a link to a link to a folder, and the middle one is replaced."""
    mounted = tmp_path / "mounted"
    for version in ("first", "second"):
        (mounted / f"..{version}").mkdir(parents=True)
        (mounted / f"..{version}" / "token").write_text(version)
        shutil.copy(certificates / "ca.crt", mounted / f"..{version}")
    (mounted / "..data").symlink_to("..first")
    for name in ("token", "ca.crt"):
        (mounted / name).symlink_to(f"..data/{name}")
    with serving(server) as port, account_in(mounted) as account:
        # The path does not matter any more, as in another mount namespace.
        moved = mounted.rename(tmp_path / "elsewhere")
        cluster = Cluster("127.0.0.1", port, account, "node-1")
        assert ask(cluster, request_of()) == Posted()
        (tmp_path / "token").write_text("second")
        assert ask(cluster, request_of(name="job-1.2")) == Later("401 Unauthorized")
        (moved / "..new").symlink_to("..second")
        (moved / "..new").rename(moved / "..data")
        assert ask(cluster, request_of(name="job-1.2")) == Posted()


def test_what_the_api_server_says_is_understood(server: ApiServer, cluster: Cluster) -> None:
    assert ask(cluster, request_of()) == Posted()
    assert ask(cluster, request_of()) == Exists()
    unknown = Request(request_of(name="job-1.2").told, is_new=False)
    assert ask(cluster, unknown) == Gone()
    server.ending_namespaces.add("default")
    assert ask(cluster, request_of(name="job-1.3")) == Gone()
    server.gone_namespaces.add("default")
    assert ask(cluster, request_of(name="job-1.3")) == Gone()
    server.forbidden.add(("POST", "default"))
    answer = ask(cluster, request_of(name="job-1.3"))
    assert isinstance(answer, Forbidden)
    assert "cannot create resource" in answer.reason


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("429", Later("429 it is broken", 1.0)),
        ("500", Later("500 it is broken")),
        ("503", Later("503 it is broken")),
        ("504", Later("504 it is broken")),
        ("410", Gone()),
        ("422", Refused("422 it is broken")),
    ],
)
def test_a_failing_api_server_is_asked_again(
    server: ApiServer, cluster: Cluster, status: str, answer: object
) -> None:
    server.faults.append(status)
    assert ask(cluster, request_of()) == answer
    assert ask(cluster, request_of()) == Posted()


@pytest.mark.parametrize("fault", ["half", "garbage", "closed", "endless", "redirect"])
def test_a_broken_answer_is_a_failure(server: ApiServer, cluster: Cluster, fault: str) -> None:
    server.faults.append(fault)
    assert isinstance(ask(cluster, request_of()), Later)
    assert len(server.seen) == 1
    assert ask(cluster, request_of()) == Posted()


@pytest.mark.parametrize(
    ("fault", "patience"),
    [
        ("mute", Patience(0.2, NEVER)),
        ("mute", Patience(NEVER, 0.2)),
        ("drip", Patience(NEVER, 0.2)),
    ],
)
def test_an_api_server_that_does_not_end_its_answer_is_left(
    server: ApiServer, cluster: Cluster, fault: str, patience: Patience
) -> None:
    server.faults.append(fault)
    assert isinstance(ask(cluster, request_of(), patience), Later)


def test_an_api_server_that_does_not_even_begin_tls_is_left(
    server: ApiServer, cluster: Cluster
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        other = attrs.evolve(cluster, port=mute.getsockname()[1])
        assert isinstance(ask(other, request_of(), Patience(0.2, NEVER)), Later)


@pytest.mark.parametrize(
    "token", ["", "first\nsecond", "first\rsecond", "first second", "f\xfcrst"]
)
def test_what_is_no_token_is_neither_sent_nor_told(
    server: ApiServer, cluster: Cluster, token: str
) -> None:
    (server.folder / "token").write_text(f"{token}\n", encoding="utf-8")
    answer = ask(cluster, request_of())
    assert isinstance(answer, Later)
    assert "token" in answer.reason
    assert "rst" not in answer.reason
    assert "second" not in answer.reason
    assert server.events == {}


def test_nobody_else_gets_the_token(
    server: ApiServer, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither a server with the certificate of somebody else, nor one with another name."""
    for names in (["IP:127.0.0.1"], ["IP:127.0.0.9", "DNS:localhost"]):
        folder = tmp_path_factory.mktemp("stranger")
        make_certificates(folder, *names)
        if names != ["IP:127.0.0.1"]:
            # Vouched for by the right authority, but for another host.
            shutil.copy(folder / "ca.crt", server.folder)
        (folder / "token").write_text("first")
        stranger = ApiServer(folder)
        with serving(stranger) as port:
            answer = ask(attrs.evolve(cluster, port=port), request_of())
        assert isinstance(answer, Later)
        assert "CERTIFICATE_VERIFY_FAILED" in answer.reason
        assert stranger.seen == []


def test_an_api_server_without_tls_does_not_get_the_token(cluster: Cluster) -> None:
    received: list[bytes] = []

    def accept() -> None:
        connection, _ = plain.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 201 Created\r\n\r\n")
            received.append(connection.recv(1 << 16))

    with socket.create_server(("127.0.0.1", 0)) as plain:
        thread = threading.Thread(target=accept)
        thread.start()
        answer = ask(attrs.evolve(cluster, port=plain.getsockname()[1]), request_of())
        thread.join()
    assert isinstance(answer, Later)
    assert b"first" not in b"".join(received)


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_a_missing_file_is_a_failure_that_may_pass(
    server: ApiServer, cluster: Cluster, missing: str
) -> None:
    kept = (server.folder / missing).rename(server.folder / "kept")
    answer = ask(cluster, request_of())
    assert isinstance(answer, Later)
    assert missing in answer.reason or "No such file" in answer.reason
    kept.rename(server.folder / missing)
    assert ask(cluster, request_of()) == Posted()


def test_no_variable_makes_it_write_the_keys_of_the_session(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert ask(cluster, request_of()) == Posted()
    assert not (tmp_path / "keys").exists()


# ---- the thread


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> Moment:
        return Moment(self.now_s, 1_800_000_000 + self.now_s)


@contextmanager
def posting(
    cluster: Cluster, logged: list[tuple[str, str]], limits: Limits, clock: Clock | None = None
) -> Iterator[Poster]:
    def log(_: object, event: str, **facts: object) -> None:
        logged.append((event, str(facts["reason"])))

    outbox = Outbox("node-1", limits)
    poster = Poster(outbox, log, lambda request: ask(cluster, request), clock or Clock())
    try:
        yield poster
    finally:
        poster.end()


def test_what_happens_again_is_one_event_in_the_cluster(
    server: ApiServer, cluster: Cluster
) -> None:
    with posting(cluster, [], Limits()) as poster:
        for _ in range(5):
            poster.post(HAPPENED)
        wait_until(
            lambda: [each["count"] for each in server.events.values()] == [5], "it is counted"
        )


def test_an_api_server_that_is_away_gets_everything_once_it_is_back(
    server: ApiServer, cluster: Cluster
) -> None:
    logged: list[tuple[str, str]] = []
    server.faults.extend(["500", "closed", "429", "half", "500"])
    clock = Clock()
    with posting(cluster, logged, Limits(retry_s=0.0), clock) as poster:
        poster.post(HAPPENED)
        # The API server wants a second without requests.
        wait_until(lambda: poster._outbox._failures == 3, "it has failed thrice")
        clock.now_s = 1.5
        poster.post(attrs.evolve(HAPPENED, subject="net2"))
        wait_until(lambda: len(server.events) == 2, "both are there")
        wait_until(lambda: poster._outbox.posted == 2, "both answers are there")
        assert poster.counts() == (2, 0)
        assert poster.counts() == (0, 0)
    assert {event for event, _ in logged} == {"events-not-posted"}


def test_a_lost_answer_makes_no_second_event(server: ApiServer, cluster: Cluster) -> None:
    server.faults.append("lost")
    with posting(cluster, [], Limits(retry_s=0.0)) as poster:
        poster.post(HAPPENED)
        wait_until(lambda: len(server.seen) == 3, "it is posted, found, and patched")
    assert [status for _, _, status in server.seen] == [0, 409, 200]
    assert len(server.events) == 1


def test_what_is_forbidden_is_said_once(server: ApiServer, cluster: Cluster) -> None:
    logged: list[tuple[str, str]] = []
    server.forbidden.add(("POST", "default"))
    with posting(cluster, logged, Limits()) as poster:
        for number in range(5):
            poster.post(attrs.evolve(HAPPENED, subject=f"net{number}"))
        wait_until(lambda: poster._outbox.dropped == 5, "all are dropped")
    assert len(server.seen) == 1
    assert [event for event, _ in logged] == ["events-not-posted"]


def test_nobody_waits_for_an_api_server_that_is_mute(server: ApiServer, cluster: Cluster) -> None:
    """What comes meanwhile is dropped from the oldest on, and counted."""
    server.faults.append("mute")
    limits = Limits(object_burst=10**6, burst=10**6, waiting=10)
    with posting(cluster, [], limits) as poster:
        poster.post(HAPPENED)
        wait_until(lambda: bool(server.seen), "it is asked")
        for number in range(100):
            poster.post(attrs.evolve(HAPPENED, subject=f"net{number}"))
        assert poster.counts() == (0, 90)
        assert server.events == {}


def test_a_fault_of_the_poster_ends_its_thread_alone() -> None:
    logged: list[str] = []
    ended = threading.Event()

    def log(_: object, event: str, **__: object) -> None:
        logged.append(event)
        ended.set()

    def fail(_: Request) -> Posted:
        raise RuntimeError("a fault")

    poster = Poster(Outbox("node-1"), log, fail, Clock())
    poster.post(HAPPENED)
    assert ended.wait(PATIENCE_S)
    poster.post(HAPPENED)
    assert logged == ["events-ended"]


# ---- the surroundings


def surroundings(**changed: str) -> dict[str, str]:
    return {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "NODE_NAME": "node-1",
        **changed,
    }


def test_a_cluster_is_found_by_the_variables_and_the_folder(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    cluster = find_cluster(surroundings(), str(tmp_path))
    assert (cluster.host, cluster.port, cluster.node) == ("10.96.0.1", 443, "node-1")
    assert cluster.account.token() == "first"
    assert not os.get_inheritable(cluster.account.folder)
    os.close(cluster.account.folder)


def test_the_folder_may_be_a_descriptor_from_another_mount_namespace(tmp_path: Path) -> None:
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text("first")
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    folder.rename(tmp_path / "elsewhere")
    cluster = find_cluster(surroundings(), f"/proc/self/fd/{opened}")
    os.close(opened)
    assert cluster.account.token() == "first"
    os.close(cluster.account.folder)


def test_a_node_has_its_own_name_unless_a_variable_says_another(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first")
    cluster = find_cluster(surroundings(NODE_NAME=""), str(tmp_path))
    assert cluster.node == os.uname().nodename.lower()
    os.close(cluster.account.folder)


@pytest.mark.parametrize("host", ["fd00::1", "[fd00::1]"])
def test_an_ipv6_host_needs_no_brackets(tmp_path: Path, host: str) -> None:
    (tmp_path / "token").write_text("first")
    cluster = find_cluster(surroundings(KUBERNETES_SERVICE_HOST=host), str(tmp_path))
    assert cluster.host == "fd00::1"
    os.close(cluster.account.folder)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"KUBERNETES_SERVICE_HOST": ""}, "KUBERNETES_SERVICE_HOST is not set"),
        ({"KUBERNETES_SERVICE_PORT": "0"}, "KUBERNETES_SERVICE_PORT '0' is not a port"),
        ({"KUBERNETES_SERVICE_PORT": "https"}, "'https' is not a port"),
        ({"NODE_NAME": "node/1"}, "'node/1' is not the name of a node; set NODE_NAME"),
    ],
)
def test_without_a_cluster_it_says_what_is_missing(
    tmp_path: Path, changed: dict[str, str], words: str
) -> None:
    (tmp_path / "token").write_text("first")
    with pytest.raises(InvalidEnvironment, match=words):
        find_cluster(surroundings(**changed), str(tmp_path))


def test_without_a_token_it_says_so_and_keeps_nothing_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(InvalidEnvironment, match="no service account is in"):
        find_cluster(surroundings(), str(tmp_path / "none"))
    with pytest.raises(InvalidEnvironment, match="no token is in"):
        find_cluster(surroundings(), str(tmp_path))
    (tmp_path / "token").mkdir()
    with pytest.raises(InvalidEnvironment, match="no token is in"):
        find_cluster(surroundings(), str(tmp_path))
    assert os.listdir("/proc/self/fd") == before
