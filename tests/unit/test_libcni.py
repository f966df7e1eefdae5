"""Which calls a runtime makes to the plugins of a network: laws of libcni, and a recording."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.codec import parse_plugin_list, result_from_json, result_to_json
from amdcni.core.errors import (
    InvalidConfiguration,
    InvalidName,
    PluginBroken,
    PluginFailed,
    UnsupportedVersion,
)
from amdcni.core.libcni import (
    Cached,
    Wanted,
    add,
    check,
    conduct,
    delete,
    gc,
    stale,
    status,
    version_of,
)
from amdcni.core.names import ContainerId, IfName, NetworkName
from amdcni.core.spec import AttachmentId, Json, PluginCall, PluginList, Result, Verb
from amdcni.core.versions import SUPPORTED, CniVersion, at_least
from amdcni.testing import strategies as some

RECORDED = Path(__file__).parent / "data/runtime-inputs/cnitool-1.1.0.json"

attachments = st.builds(
    Wanted,
    some.attachment_ids,
    st.just("/run/netns/pod1"),
    st.lists(st.tuples(some.words, some.words), max_size=2).map(tuple),
    st.dictionaries(st.sampled_from(["mac", "ips", "bandwidth"]), st.integers(0, 9)),
)

networks = st.builds(
    PluginList,
    some.network_names,
    some.versions,
    st.lists(some.plugin_objects, min_size=1, max_size=3).map(tuple),
)


class Plugins:
    """Answers every call: an ADD with a result that says which plugin gave it."""

    def __init__(self, fail: Callable[[PluginCall], bool] = lambda _: False) -> None:
        self.calls: list[PluginCall] = []
        self.answers: list[Json] = []
        self._fail = fail

    def __call__(self, call: PluginCall) -> Json:
        self.calls.append(call)
        if self._fail(call):
            raise PluginFailed(call.plugin, 11, "later")
        answer: Json = {}
        if call.verb is Verb.ADD:
            interfaces = [{"name": f"{call.plugin}{len(self.calls)}"}]
            answer = {"cniVersion": call.config["cniVersion"], "interfaces": interfaces}
            if not at_least(call.config["cniVersion"], CniVersion("0.3.0")):
                answer = {"cniVersion": call.config["cniVersion"]}
        self.answers.append(answer)
        return answer

    @property
    def types(self) -> list[str]:
        return [str(call.plugin) for call in self.calls]


def types_of(network: PluginList) -> list[str]:
    return [plugin["type"] for plugin in network.plugins]


def environment_of(call: PluginCall) -> dict[str, str]:
    return {
        "CNI_COMMAND": call.verb.value,
        "CNI_CONTAINERID": "" if call.attachment is None else call.attachment.container_id,
        "CNI_IFNAME": "" if call.attachment is None else call.attachment.ifname,
        "CNI_NETNS": call.netns,
        "CNI_ARGS": call.args,
        "CNI_PATH": "/opt/cni/bin",
    }


def test_the_calls_are_those_that_cnitool_was_recorded_to_make() -> None:
    recorded = json.loads(RECORDED.read_text())
    keys = {"type": "amd-host-device", "deviceID": "0000:01:00.0", "pciBusID": "0000:01:00.0"}
    source = {"cniVersion": "1.1.0", "name": "amdlist", "plugins": [keys]}
    network = parse_plugin_list(json.dumps(source).encode())
    id = AttachmentId(ContainerId("cnitool-eb69d96616c204ff963c"), IfName("net1"))
    attachment = Wanted(id, "/run/netns/pod1")
    answer = json.loads(recorded[2]["stdin"])["prevResult"]
    calls: list[PluginCall] = []

    def answered(call: PluginCall) -> Json:
        calls.append(call)
        return answer if call.verb is Verb.ADD else {}

    conduct(status(network), answered)
    result = conduct(add(network, attachment), answered)
    conduct(check(network, attachment, result), answered)
    conduct(delete(network, attachment, result), answered)
    conduct(gc(network, None), answered)
    conduct(delete(network, attachment, None), answered)
    assert [(environment_of(call), call.config) for call in calls] == [
        (each["env"], json.loads(each["stdin"])) for each in recorded
    ]


@given(networks, attachments)
def test_add_calls_every_plugin_in_order_and_passes_each_result_on(
    network: PluginList, attachment: Wanted
) -> None:
    asked = Plugins()
    result = conduct(add(network, attachment), asked)
    assert asked.types == types_of(network)
    assert "prevResult" not in asked.calls[0].config
    for call, before in zip(asked.calls[1:], asked.answers, strict=False):
        assert result_from_json(call.config["prevResult"]) == result_from_json(before)
    assert result == result_from_json(asked.answers[-1])


@given(networks, attachments, some.results)
def test_del_calls_in_reverse_order_and_every_plugin_gets_the_last_result(
    network: PluginList, attachment: Wanted, result: Result
) -> None:
    asked = Plugins()
    conduct(delete(network, attachment, result), asked)
    assert asked.types == types_of(network)[::-1]
    passed = [call.config.get("prevResult") for call in asked.calls]
    known = at_least(network.version, CniVersion("0.4.0"))
    expected = result_to_json(result, network.version) if known else None
    assert passed == [expected] * len(passed)


@given(networks, attachments)
def test_every_plugin_gets_its_own_keys_with_the_networks_name_and_version(
    network: PluginList, attachment: Wanted
) -> None:
    asked = Plugins()
    conduct(add(network, attachment), asked)
    for call, plugin in zip(asked.calls, network.plugins, strict=True):
        added = {"name", "cniVersion", "prevResult", "runtimeConfig"}
        assert {k: v for k, v in call.config.items() if k not in added} == plugin
        assert (call.config["name"], call.config["cniVersion"]) == (network.name, network.version)
        assert (call.attachment, call.netns) == (attachment.id, attachment.netns)
        assert call.args == ";".join(f"{key}={value}" for key, value in attachment.args)


@given(networks, attachments)
def test_a_plugin_gets_only_the_capabilities_that_it_declares(
    network: PluginList, attachment: Wanted
) -> None:
    asked = Plugins()
    conduct(add(network, attachment), asked)
    for call, plugin in zip(asked.calls, network.plugins, strict=True):
        declared = {name for name, is_so in plugin.get("capabilities", {}).items() if is_so}
        given_ = {k: v for k, v in attachment.capability_args.items() if k in declared}
        assert call.config.get("runtimeConfig", {}) == given_


@given(networks, attachments)
def test_capabilities_that_are_not_an_object_are_reported_with_their_plugin(
    network: PluginList, attachment: Wanted
) -> None:
    wrong = attrs.evolve(network, plugins=({"type": "sbr", "capabilities": ["mac"]},))
    with pytest.raises(InvalidConfiguration) as refusal:
        conduct(add(wrong, attachment), Plugins())
    assert refusal.value.message == "capabilities of sbr is ['mac'], not an object"


@given(networks, attachments, some.results)
def test_check_calls_in_order_unless_it_is_switched_off_or_the_version_lacks_it(
    network: PluginList, attachment: Wanted, result: Result
) -> None:
    asked = Plugins()
    if not at_least(network.version, CniVersion("0.4.0")):
        with pytest.raises(UnsupportedVersion, match=f"cniVersion {network.version} has no CHECK"):
            conduct(check(network, attachment, result), asked)
        assert asked.calls == []
        return
    conduct(check(network, attachment, result), asked)
    assert asked.types == types_of(network)
    conduct(check(attrs.evolve(network, disable_check=True), attachment, result), asked)
    assert asked.types == types_of(network)


@given(networks)
def test_status_calls_every_plugin_if_the_version_has_status(network: PluginList) -> None:
    asked = Plugins()
    conduct(status(network), asked)
    assert asked.types == (types_of(network) if network.version == "1.1.0" else [])
    assert all(call.attachment is None and call.netns == "" for call in asked.calls)


@given(networks, st.none() | st.frozensets(some.attachment_ids, max_size=3))
def test_gc_calls_every_plugin_with_what_is_valid_if_the_version_has_gc(
    network: PluginList, valid: frozenset[AttachmentId] | None
) -> None:
    asked = Plugins()
    conduct(gc(network, valid), asked)
    assert asked.types == (types_of(network) if network.version == "1.1.0" else [])
    for call in asked.calls:
        said: Any = call.config.get("cni.dev/valid-attachments")
        assert call.config.get("cni.dev/attachments") == said
        if valid is None:
            assert said is None
        else:
            ids = [(id.container_id, id.ifname) for id in sorted(valid)]
            assert [(each["containerID"], each["ifname"]) for each in said] == ids


@given(networks, st.lists(attachments, max_size=3), st.data())
def test_known_attachments_of_the_network_that_are_not_valid_are_stale(
    network: PluginList, known: list[Wanted], data: st.DataObject
) -> None:
    ids = st.sampled_from([each.id for each in known]) if known else st.nothing()
    valid = data.draw(st.none() | st.frozensets(ids))
    cached = [Cached(network, each, Result()) for each in known]
    elsewhere = attrs.evolve(network, name=NetworkName(f"{network.name}2"))
    strangers = [Cached(elsewhere, each, Result()) for each in known]
    expected = [each for each in cached if each.attachment.id not in (valid or ())]
    assert list(stale(network, valid, strangers + cached)) == expected
    assert stale(attrs.evolve(network, disable_gc=True), valid, cached) == ()


@given(st.frozensets(some.attachment_ids, min_size=1, max_size=3))
def test_gc_lists_what_is_valid_under_the_key_of_the_standard_and_of_its_draft(
    valid: frozenset[AttachmentId],
) -> None:
    plugin: Json = {"type": "bridge", "mtu": 1400}
    network = PluginList(NetworkName("fabric"), CniVersion("1.1.0"), (plugin,))
    asked = Plugins()
    conduct(gc(network, valid), asked)
    ids = [{"containerID": id.container_id, "ifname": id.ifname} for id in sorted(valid)]
    keys = {"cni.dev/valid-attachments": ids, "cni.dev/attachments": ids}
    (call,) = asked.calls
    assert call.config == {**plugin, "name": "fabric", "cniVersion": "1.1.0", **keys}


def test_a_failure_that_is_not_a_plugins_ends_a_gc_at_once() -> None:
    plugins: tuple[Json, ...] = ({"type": "bridge"}, {"type": "sbr"})
    network = PluginList(NetworkName("fabric"), CniVersion("1.1.0"), plugins)

    def broken(call: PluginCall) -> Json:
        raise TypeError("a fault of our own")

    with pytest.raises(TypeError, match="a fault of our own"):
        conduct(gc(network, ()), broken)


def test_a_plugin_that_fails_a_gc_does_not_stop_the_others() -> None:
    names = ("bridge", "sbr", "tuning")
    network = PluginList(
        NetworkName("fabric"), CniVersion("1.1.0"), tuple({"type": name} for name in names)
    )
    asked = Plugins(fail=lambda call: call.plugin != "sbr")
    with pytest.raises(PluginFailed) as failure:
        conduct(gc(network, ()), asked)
    assert asked.types == list(names)
    assert failure.value.plugin == "bridge"
    assert failure.value.__notes__ == ["later"]


def test_a_network_may_switch_gc_off() -> None:
    network = PluginList(NetworkName("fabric"), CniVersion("1.1.0"), ({"type": "bridge"},))
    asked = Plugins()
    conduct(gc(attrs.evolve(network, disable_gc=True), ()), asked)
    assert asked.calls == []


@given(networks, attachments, st.integers(0, 2))
def test_the_first_plugin_that_fails_ends_the_conversation(
    network: PluginList, attachment: Wanted, number: int
) -> None:
    asked = Plugins(fail=lambda _: len(asked.calls) == number + 1)
    if number >= len(network.plugins):
        conduct(add(network, attachment), asked)
        return
    with pytest.raises(PluginFailed):
        conduct(add(network, attachment), asked)
    assert len(asked.calls) == number + 1


@given(st.lists(some.versions, max_size=3), some.versions)
def test_the_newest_version_offered_is_used(offered: list[CniVersion], own: CniVersion) -> None:
    network = PluginList(NetworkName("fabric"), own, ({"type": "bridge"},), tuple(offered))
    newest = max([own, *offered], key=SUPPORTED.index)
    assert version_of(network) == newest
    asked = Plugins()
    conduct(add(network, WANTED), asked)
    assert asked.calls[0].config["cniVersion"] == newest


WANTED = Wanted(AttachmentId(ContainerId("c1"), IfName("net1")), "/run/netns/pod1")


@pytest.mark.parametrize("answer", [{"ips": 7}, {"interfaces": [{}]}, {"ips": [{"address": "x"}]}])
def test_an_answer_that_is_not_a_result_is_the_plugins_fault(answer: Any) -> None:
    network = PluginList(NetworkName("fabric"), CniVersion("1.0.0"), ({"type": "bridge"},))
    with pytest.raises(PluginBroken, match="bridge"):
        conduct(add(network, WANTED), lambda _: answer)


@pytest.mark.parametrize("plugin", [{}, {"type": ""}, {"type": "../bridge"}, {"type": 7.5}])
def test_the_type_of_a_plugin_must_be_a_file_name(plugin: Any) -> None:
    network = PluginList(NetworkName("fabric"), CniVersion("1.0.0"), (plugin,))
    asked = Plugins()
    with pytest.raises(InvalidName):
        conduct(add(network, WANTED), asked)
    assert asked.calls == []
