"""What a person calls an attachment: never a stranger's, and refused if it may mean several."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.cli.known import Known, commands, find_named, needs, require_one, state_of
from amdcni.cli.show import answer, is_usual, lines
from amdcni.core import capture
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition, Seen
from amdcni.core.errors import UnknownAttachment
from amdcni.core.names import ContainerId, DeviceKey, IfName, PciAddress
from amdcni.core.spec import AttachmentId
from amdcni.testing import strategies as some

A, B, C = (DeviceKey(PciAddress(0, bus, 0, 0)) for bus in (0xC1, 0xC2, 0xC3))

a_record = some.attachments_of(with_netdev=True)
names = st.sampled_from(["ml/trainer-0", "ml/trainer-1", "dev/trainer-0"])
ids = st.sampled_from(["8c1f0a", "8c1f0b", "77"])


def lent(
    record: Attachment,
    key: DeviceKey,
    pod: str | None,
    container: str,
    *,
    host: str = "eth1",
    inside: str = "net1",
) -> Known:
    assert record.captured is not None
    namespace, _, name = (pod or "/").partition("/")
    changed = attrs.evolve(
        record,
        key=key,
        id=AttachmentId(ContainerId(container), IfName(inside)),
        args="" if pod is None else f"K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}",
        captured=attrs.evolve(record.captured, ifname=IfName(host)),
    )
    return Known(key, changed, Seen(Condition.HELD))


@given(a_record)
def test_a_nic_is_found_by_each_of_its_names(record: Attachment) -> None:
    known = (
        lent(record, A, "ml/trainer-0", "8c1f0a", host="eth1"),
        lent(record, B, "ml/trainer-0", "8c1f0a", host="eth2", inside="net2"),
        lent(record, C, "dev/trainer-0", "8c1f0b", host="eth3"),
    )
    pod = known[:2]
    for text, meant in (
        *(("0000:c1:00.0", known[:1]), ("eth1", known[:1]), ("0000:c1:00.0@eth1", known[:1])),
        *(("ml/trainer-0", pod), ("8c1f0a", pod), ("dev/trainer-0", known[2:])),
        *(("8c1f0b", known[2:]), ("net2", known[1:2])),
    ):
        assert find_named(text, known) == meant, text
    for text in ("trainer-0", "8c1f", "8", "net1"):
        with pytest.raises(UnknownAttachment, match="may mean several NICs") as refusal:
            find_named(text, known)
        assert "0000:c1:00.0 (eth1) of pod ml/trainer-0; " in refusal.value.message
        assert "0000:c3:00.0 (eth3) of pod dev/trainer-0" in refusal.value.message
    for text in ("", "trainer", "ml", "ml/", "c1f0", "net9"):
        with pytest.raises(UnknownAttachment, match="no attachment is known as"):
            find_named(text, known, ["a damaged record"])
    with pytest.raises(UnknownAttachment, match="no attachment is known as 'net2'"):
        find_named("net2", known, inside=False)
    with pytest.raises(UnknownAttachment, match="may mean several NICs"):
        require_one("ml/trainer-0", pod)
    require_one("eth1", known[:1])


@given(a_record)
def test_a_name_that_is_one_nics_on_the_host_and_anothers_pod_is_refused(
    record: Attachment,
) -> None:
    known = (
        lent(record, A, "ml/other", "77", host="trainer-0"),
        lent(record, B, "ml/trainer-0", "8c1f0a", host="eth2"),
    )
    with pytest.raises(UnknownAttachment, match="may mean several NICs"):
        find_named("trainer-0", known)


@given(
    st.lists(st.tuples(a_record, names, ids, st.sampled_from(["eth1", "net1"])), max_size=3),
    st.sampled_from(
        ["trainer-0", "ml/trainer-0", "eth1", "net1", "8c1f", "8c1f0a", "0000:c2:00.0"]
    ),
)
def test_what_is_found_is_one_device_pod_or_container_that_has_the_name(
    drawn: list[tuple[Attachment, str, str, str]], text: str
) -> None:
    known = [
        lent(record, key, pod, container, host=host)
        for key, (record, pod, container, host) in zip((A, B, C), drawn, strict=False)
    ]
    try:
        found = find_named(text, known)
    except UnknownAttachment:
        return
    assert found
    records = [each.record for each in found if each.record is not None]
    shared: list[set[object]] = [
        {each.key for each in records},
        {each.pod for each in records},
        {each.id.container_id for each in records},
    ]
    assert any(len(same) == 1 for same in shared)
    for each in records:
        called = (str(each.key), each.host_ifname, each.pod, each.id.ifname)
        name = (each.pod or "").partition("/")[2]
        assert text in (*called, name) or each.id.container_id.startswith(text)


# ---- what somebody has to do


@given(
    st.lists(st.tuples(a_record, st.sampled_from(Condition), st.booleans()), max_size=4),
    st.integers(0, 2),
)
def test_each_nic_that_needs_somebody_is_counted_once(
    drawn: list[tuple[Attachment, Condition, bool]], aside: int
) -> None:
    known = [Known(r.key, r, Seen(condition, busy=busy)) for r, condition, busy in drawn]
    waiting = [each for each in known if each.needs_somebody]
    said = list(commands(waiting, aside, None))
    assert sum(int(line.split()[0]) for line in said) == len(waiting) + aside
    assert not [each for each in waiting if each.busy or each.condition is Condition.HELD]
    sentences = list(needs(known, ["damaged"] * aside, "/x y"))
    assert len(sentences) == len(waiting) + aside + len(said)
    assert all(line.endswith("--data-dir '/x y'") for line in sentences[len(waiting) + aside :])
    for each in known:
        word = str(state_of(each))
        assert (word == "orphan") == each.is_orphan
        assert " " not in word


# ---- show


@given(some.attachments, st.sampled_from(Condition))
def test_show_begins_with_where_it_is_and_leaves_out_only_what_is_usual(
    record: Attachment, condition: Condition
) -> None:
    known = Known(record.key, record, Seen(condition))
    sentences = list(answer(known))
    has_it = sentences[0].startswith(f"{known.about} is in {record.lent_to} as ")
    assert has_it == (condition is Condition.HELD)
    assert has_it or f" was lent to {record.lent_to} as " in sentences[0]
    if record.captured is None:
        assert sentences[1] == "Comes back: nothing, since it has no netdev."
        return
    kept = [f"  {line}" for line in capture.lines(record.captured)]
    whole = list(lines(known, (), everything=True))
    assert [line for line in kept if line not in whole] == []
    short = list(lines(known, ("mtu is 1500, was 9000",), everything=False))
    missing = [line for line in kept if line not in short]
    assert all(is_usual(line.strip()) for line in missing)
    assert short[-2:] == ["1 of that is different now:", "  mtu is 1500, was 9000"]


@pytest.mark.parametrize(
    ("line", "usual"),
    [
        ("sysctl ipv4/neigh/locktime = 100", True),
        ("sysctl ipv6/neigh/locktime = 100", False),
        ("sysctl ipv4/neigh/gc_stale_time = 60", True),
        ("sysctl ipv4/neigh/gc_stale_time = 61", False),
        ("sysctl ipv4/conf/gc_stale_time = 60", False),
        ("group 0", True),
        ("alias sysctl ipv4/neigh/locktime = 100", False),
        ("address 10.0.0.0/31", False),
    ],
)
def test_only_what_every_new_netdev_has_is_usual(line: str, usual: bool) -> None:
    assert is_usual(line) == usual
