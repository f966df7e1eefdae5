"""How the conformance suite learns about a plugin, reads its answers, and reports."""

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.cli import main
from amdcni.core.codec import result_to_json
from amdcni.core.spec import Result
from amdcni.core.versions import SUPPORTED, CniVersion
from amdcni.testing import strategies as some
from amdcni.testing.cni import Outcome
from amdcni.testing.conformance import findings, reports
from amdcni.testing.conformance.clauses import Level
from amdcni.testing.conformance.findings import Adds, Finding, Verdict
from amdcni.testing.conformance.reports import Judgement
from amdcni.testing.conformance.shapes import faults_of_result, faults_of_versions
from amdcni.testing.conformance.stage import Spoken
from amdcni.testing.conformance.subject import CannotJudge, for_nic, read_subject
from amdcni.testing.conformance.well_known import CONFIGURATIONS

# ---- what is known of the plugin


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def written(folder: Path, config: object) -> Path:
    path = folder / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def test_without_a_configuration_the_suite_makes_one_with_a_name_and_a_type(plugin: Path) -> None:
    subject = read_subject(plugin)
    assert subject.config == {"name": "conformance", "type": "mine"}
    assert (subject.ifname, subject.before) == ("net1", ())
    assert "/usr/lib/cni" in subject.dirs


def test_in_a_list_the_plugin_is_found_by_its_type_with_those_before_it(plugin: Path) -> None:
    plugins = [{"type": "bridge", "mtu": 1400}, {"type": "mine"}, {"type": "tuning"}]
    network = {"cniVersion": "1.0.0", "name": "lab", "plugins": plugins}
    dirs = f"/a:{another(plugin, 'bridge').parent}"
    subject = read_subject(plugin, written(plugin.parent, network), dirs, "eth0")
    common = {"cniVersion": "1.0.0", "name": "lab"}
    assert subject.config == {"type": "mine", **common}
    assert subject.before == ({"type": "bridge", "mtu": 1400, **common},)
    assert (subject.dirs, subject.ifname) == (tuple(dirs.split(":")), "eth0")
    assert not subject.makes_the_interface


def another(plugin: Path, name: str) -> Path:
    """Another executable in the plugin's folder."""
    return Path(shutil.copy(plugin, plugin.with_name(name)))


def test_an_ipam_plugin_may_be_named_inside_a_list_and_then_has_none_before_it(
    plugin: Path,
) -> None:
    plugins: list[dict[str, Any]] = [{"type": "bridge"}]
    plugins.append({"type": "macvlan", "ipam": {"type": "mine"}})
    subject = read_subject(plugin, written(plugin.parent, {"name": "lab", "plugins": plugins}))
    assert subject.config == {"name": "lab", **plugins[1]}
    assert subject.is_ipam
    assert subject.before == ()


def test_a_missing_plugin_before_this_one_is_reported(plugin: Path) -> None:
    """Otherwise every clause would be skipped, and nothing would fail."""
    network = {"name": "lab", "plugins": [{"type": "no-such-plugin"}, {"type": "mine"}]}
    with pytest.raises(CannotJudge, match="before this one: the CNI plugin 'no-such"):
        read_subject(plugin, written(plugin.parent, network))


def test_folders_are_relative_to_the_working_directory(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plugin.parent)
    subject = read_subject("mine", path="plugins:/b")
    assert subject.executable == plugin
    assert subject.dirs == (str(plugin.with_name("plugins")), "/b")


def test_a_plugin_that_the_node_cannot_see_is_reported(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amdcni.testing.conformance.subject._COVERED", (str(plugin.parent),))
    with pytest.raises(CannotJudge, match=r"but the node has its own .*: copy it elsewhere"):
        read_subject(plugin)


NAD = {
    "kind": "NetworkAttachmentDefinition",
    "metadata": {"name": "fabric"},
    "spec": {"config": json.dumps({"type": "mine", "mtu": 9000})},
}


@pytest.mark.parametrize("name", ["network.json", "network.yaml", "network.yml"])
def test_a_definition_stands_for_the_configuration_in_it(plugin: Path, name: str) -> None:
    (path := plugin.parent / name).write_text(json.dumps(NAD))
    assert read_subject(plugin, path).config == {"type": "mine", "name": "fabric", "mtu": 9000}


@pytest.mark.parametrize("kinds", [[], ["NetworkAttachmentDefinition"] * 2])
def test_a_file_with_no_definition_or_several_is_refused(plugin: Path, kinds: list[str]) -> None:
    (path := plugin.parent / "all.yaml").write_text(
        json.dumps({"kind": "List", "items": [{**NAD, "kind": kind} for kind in (*kinds, "Pod")]})
    )
    with pytest.raises(CannotJudge, match=f"has {len(kinds)} NetworkAttachmentDefinitions"):
        read_subject(plugin, path)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "is not JSON"),
        ([], "not a JSON object"),
        ({"plugins": {}}, "plugins has to be a list of objects"),
        ({"plugins": ["mine"]}, "plugins has to be a list of objects"),
        ({"plugins": []}, "has no plugin of type 'mine'; it has nothing"),
        ({"plugins": [{"type": "bridge"}]}, "has no plugin of type 'mine'; it has 'bridge'"),
        ({"cniVersion": "2.0.0"}, "cniVersion is '2.0.0', not one of 0.1.0, "),
        ({"cniVersion": None}, "cniVersion is None"),
    ],
)
def test_a_configuration_that_does_not_fit_is_reported(
    plugin: Path, config: object, words: str
) -> None:
    with pytest.raises(CannotJudge, match=words):
        read_subject(plugin, written(plugin.parent, config))


def test_an_unreadable_configuration_is_reported(plugin: Path) -> None:
    with pytest.raises(CannotJudge, match="cannot be read: No such file"):
        read_subject(plugin, plugin.with_name("nothing"))


@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_plugin_that_is_not_executable_is_reported(plugin: Path, mode: int | None) -> None:
    plugin.unlink() if mode is None else plugin.chmod(mode)
    with pytest.raises(CannotJudge, match="is not an executable file"):
        read_subject(plugin)


@pytest.mark.parametrize(
    ("config", "is_ipam", "delegates", "makes"),
    [
        ({}, False, False, True),
        ({"ipam": {"type": "static"}}, False, True, True),
        ({"ipam": {"type": "mine"}}, True, False, False),
        ({"ipam": {}}, False, False, True),
        ({"ipam": "static"}, False, False, True),
    ],
)
def test_the_kind_of_plugin_follows_from_its_configuration(
    plugin: Path, config: dict[str, Any], is_ipam: bool, delegates: bool, makes: bool
) -> None:
    subject = read_subject(plugin, written(plugin.parent, config))
    kind = (subject.is_ipam, subject.delegates_ipam, subject.makes_the_interface)
    assert kind == (is_ipam, delegates, makes)


@pytest.mark.parametrize(
    ("said", "supported", "spoken"),
    [
        ("0.4.0", ("1.0.0",), "0.4.0"),
        (None, ("0.4.0", "1.0.0", "0.3.1"), "1.0.0"),
        (None, ("0.4.0", "9.9.9"), "0.4.0"),
        (None, (), "1.1.0"),
    ],
)
def test_the_version_is_that_of_the_configuration_or_the_newest_common_one(
    plugin: Path, said: str | None, supported: tuple[str, ...], spoken: str
) -> None:
    config = {} if said is None else {"cniVersion": said}
    subject = read_subject(plugin, written(plugin.parent, config))
    assert subject.version_among(supported) == spoken


@given(some.json_values)
def test_a_configuration_for_the_first_nic_is_adapted_to_another(value: Any) -> None:
    first = {"device": "eth1", "deep": [{"deviceID": "0000:c1:00.0"}], "other": value}
    third = {"device": "eth3", "deep": [{"deviceID": "0000:c3:00.0"}], "other": value}
    assert for_nic(first, 3) == third
    assert for_nic(first, 1) == first


# ---- how answers are read


@given(some.results, some.versions)
def test_a_result_of_its_version_has_no_fault(result: Result, version: CniVersion) -> None:
    """The codec, which has its own tests, and the suite agree on what a result looks like."""
    pointing = [ip.interface for ip in result.ips if ip.interface is not None]
    mixed = [ip for ip in result.ips if ip.gateway and ip.gateway.version != ip.address.version]
    bits = [route for route in result.routes if route.dst.ip != route.dst.network.network_address]
    if all(index < len(result.interfaces) for index in pointing) and not mixed + bits:
        assert list(faults_of_result(result_to_json(result, version), version)) == []


RESULT_KEYS = ["cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6"]
hostile_results = st.dictionaries(
    st.sampled_from(RESULT_KEYS), some.hostile_values | st.lists(some.json_objects)
)


@given(hostile_results, some.versions)
def test_the_faults_of_any_result_can_be_listed(
    result: Mapping[str, Any], version: CniVersion
) -> None:
    for fault in faults_of_result(result, version):
        assert isinstance(fault, str)


IP = {"address": "10.0.0.1/24"}
V1, V1_1 = "1.0.0", "1.1.0"


@pytest.mark.parametrize(
    ("version", "result", "fault"),
    [
        (V1, {"cniVersion": "0.4.0"}, "cniVersion is '0.4.0', not '1.0.0'"),
        (V1, {"ips": {}}, "ips is {}, not a list"),
        (V1, {"ips": [1]}, "ips[0] is 1, not an object"),
        (V1, {"ips": [{"address": "10.0.0.1"}]}, "ips[0]: address is '10.0.0.1'"),
        (V1, {"ips": [{"address": "10.0.0.1/33"}]}, "ips[0]: address is '10.0.0.1/33'"),
        (V1, {"ips": [{**IP, "gateway": "x"}]}, "ips[0]: gateway is 'x'"),
        (V1, {"ips": [{**IP, "interface": 0}]}, "interface is 0, but there are 0 interfaces"),
        (V1, {"ips": [{**IP, "interface": -1}]}, "interface is -1"),
        (V1, {"interfaces": [{"name": "a"}], "ips": [{**IP, "interface": False}]}, "is False"),
        (V1, {"ips": [{**IP, "gateway": "fd00::1"}]}, "of another family than '10.0.0.1/24'"),
        (V1, {"ips": None}, "ips is None, not a list"),
        ("0.4.0", {"ips": [IP]}, "version is None, not '4' or '6'"),
        (V1, {"interfaces": [{}]}, "interfaces[0]: name is None"),
        (V1, {"interfaces": [{"name": "a", "mac": "02"}]}, "mac is '02'"),
        (V1, {"interfaces": [{"name": "a", "sandbox": 1}]}, "sandbox is 1"),
        (V1, {"routes": [{"dst": "x"}]}, "routes[0]: dst is 'x'"),
        (V1, {"routes": [{"dst": "10.0.0.0"}]}, "routes[0]: dst is '10.0.0.0'"),
        (V1, {"routes": [{"dst": "10.0.0.1/24"}]}, "routes[0]: dst is '10.0.0.1/24'"),
        (V1, {"routes": [{"dst": "::/0", "gw": "x"}]}, "routes[0]: gw is 'x'"),
        *(
            (V1_1, {"routes": [{"dst": "::/0", key: value}]}, f"routes[0]: {key} is {value!r}")
            for key in ("mtu", "advmss", "priority", "table", "scope")
            for value in ("1", -1, True, None)
        ),
        (V1_1, {"interfaces": [{"name": "a", "mtu": "1500"}]}, "mtu is '1500'"),
        (V1_1, {"interfaces": [{"name": "a", "pciID": 1}]}, "pciID is 1"),
        (V1_1, {"interfaces": [{"name": "a", "socketPath": []}]}, "socketPath is []"),
        (V1, {"dns": []}, "dns is [], not an object"),
        (V1, {"dns": {"nameservers": "8.8.8.8"}}, "dns.nameservers is '8.8.8.8'"),
        (V1, {"dns": {"domain": 1}}, "dns.domain is 1"),
        ("0.2.0", {"ips": [IP]}, "the addresses are in ips, a key of newer versions"),
        ("0.2.0", {"ip4": []}, "ip4 is [], not an object"),
        ("0.2.0", {"ip6": {"ip": "::1"}}, "ip6: ip is '::1'"),
        ("0.2.0", {"ip4": {"ip": "10.0.0.1/24", "routes": [{}]}}, "ip4: routes[0]: dst is None"),
    ],
)
def test_a_fault_in_a_result_is_reported(version: str, result: dict[str, Any], fault: str) -> None:
    faults = list(faults_of_result({"cniVersion": version, **result}, version))
    assert [said for said in faults if fault in said] != []


def test_a_key_that_a_version_does_not_know_may_have_any_value() -> None:
    result = {
        "interfaces": [{"name": "a", "mtu": "1500", "colour": 1}],
        "ips": [{**IP, "version": "4"}],
        "routes": [{"dst": "::/0", "mtu": "1500"}],
        "ip4": [],
    }
    assert list(faults_of_result({"cniVersion": V1, **result}, V1)) == []


def test_an_absent_list_may_be_null_in_old_versions() -> None:
    """The reference library writes it so."""
    result = {"cniVersion": "0.3.1", "interfaces": None, "ips": None, "routes": None}
    assert list(faults_of_result(result, "0.3.1")) == []


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ({"cniVersion": "1.0.0", "supportedVersions": list(SUPPORTED)}, 0),
        ({"supportedVersions": ["1.0.0"]}, 1),
        ({"cniVersion": "1.0.0", "supportedVersions": []}, 1),
        ({"cniVersion": "1.0.0", "supportedVersions": "1.0.0"}, 1),
        ({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0", "new"]}, 1),
        ({}, 2),
    ],
)
def test_the_faults_of_an_answer_to_version_are_reported(
    answer: dict[str, Any], count: int
) -> None:
    assert len(list(faults_of_versions(answer))) == count


# ---- what is reported


FOUND = [
    Finding("del can be repeated", "§2 DEL", "says", "DEL", "must", verdict, "seen " * 200)
    for verdict in Verdict
]


def shown(judgement: Judgement, *, only_failed: bool = False) -> str:
    out = io.StringIO()
    reports.print_text(judgement, out, only_failed=only_failed)
    return out.getvalue()


def test_what_fails_comes_last_with_its_evidence_and_a_summary() -> None:
    text = shown(Judgement("my-plugin", FOUND))
    assert text.startswith("passed          del can be repeated\nnot applicable  del can be")
    assert text.endswith(
        "\n\nmy-plugin DOES NOT CONFORM: 1 passed, 1 failed (1 must), 1 not applicable\n"
    )
    last = text.index("FAILED  del can be repeated\n        §2 DEL (MUST): says\n")
    assert text[last:].count("seen") == 201
    assert text[:last].count("seen") < 100
    assert text[last:] == shown(Judgement("my-plugin", FOUND), only_failed=True).lstrip()


@given(
    st.lists(
        st.builds(
            Finding,
            clause=st.text("abc ", max_size=90),
            section=st.just("§2 DEL"),
            says=st.text("abc .", max_size=300),
            verb=st.just("DEL"),
            level=st.sampled_from([each.value for each in Level]),
            verdict=st.sampled_from(list(Verdict)),
            evidence=st.text('abc \n"', max_size=2000),
        )
    ),
    st.none() | st.text("abc ", max_size=300),
)
def test_no_line_is_longer_than_80_columns_and_only_a_must_decides(
    found: list[Finding], no_add: str | None
) -> None:
    judgement = Judgement("my-plugin", found, no_add)
    assert [line for line in shown(judgement).splitlines() if len(line) > 80] == []
    failed = [each.level for each in found if each.verdict is Verdict.FAILED]
    verdict = "DOES NOT CONFORM" if "must" in failed else "CONFORMS"
    is_judged = no_add is None and found
    assert judgement.summary.startswith(f"my-plugin {verdict if is_judged else 'NOT JUDGED'}: ")
    for page in (reports.as_markdown(judgement), reports.as_html(judgement)):
        rows = page.count("<tr><td>") + page.count("|\n| ") - page.count("|\n| ---")
        assert rows == len(found)


def test_the_last_line_counts_what_was_not_tried() -> None:
    whole = Judgement("my-plugin", FOUND)
    assert "not tried" not in whole.summary
    assert attrs.evolve(whole, not_tried=86).summary == f"{whole.summary}, 86 not tried"


def test_if_no_add_has_worked_that_is_said_first() -> None:
    judgement = Judgement("my-plugin", FOUND, "exit status 1")
    words = "No ADD has worked, so the plugin is not judged"
    assert shown(judgement).startswith(f"Warning: {words}")
    assert words in reports.as_markdown(judgement)
    assert words in reports.as_html(judgement)
    assert shown(judgement, only_failed=True).startswith(f"Warning: {words}")


def test_what_a_plugin_says_is_no_markup_in_a_page() -> None:
    evil = attrs.evolve(FOUND[1], evidence="<script>| *a* `b`\n[c](d)")
    judgement = Judgement("my-plugin", [evil])
    assert "<script>" not in reports.as_html(judgement)
    page = reports.as_markdown(judgement)
    assert r"| &lt;script&gt;\| \*a\* \`b\` \[c\](d) |" in page


@pytest.mark.parametrize(
    ("spoken", "why"),
    [
        ((), None),
        ((("DEL", 1),), None),
        ((("", 0), ("ADD", 2)), "exit status 2"),
        ((("ADD", 0),), None),
        ((("ADD", 1), ("ADD", 0)), None),
        ((("ADD", 1), ("ADD", 2)), "exit status 1"),
    ],
)
def test_why_no_add_has_worked(spoken: tuple[tuple[str, int], ...], why: str | None) -> None:
    calls = [
        Spoken("ADD", {"CNI_COMMAND": verb}, {}, Outcome(status, b"", ""))
        for verb, status in spoken
    ]
    assert findings.adds_of(calls).why_none_worked == why


@pytest.mark.parametrize(
    ("found", "rehearsed", "why"),
    [
        # A clause about what must be refused.
        (Adds(refused="no"), Adds(worked=True), None),
        (Adds(worked=True), Adds(refused="no"), None),
        (Adds(refused="no"), Adds(refused="operation not supported"), "operation not supported"),
        # A clause without an ADD, such as that of VERSION.
        (Adds(), Adds(refused="operation not supported"), None),
    ],
)
def test_that_no_add_has_worked_is_said_of_a_plugin_that_fails_the_rehearsal(
    found: Adds, rehearsed: Adds, why: str | None
) -> None:
    assert found.after(rehearsed).why_none_worked == why


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_a_well_known_plugin_needs_no_configuration(tmp_path: Path, name: str) -> None:
    for each in (name, "ptp"):
        (tmp_path / each).write_text("")
        (tmp_path / each).chmod(0o755)
    judged = read_subject(tmp_path / name, path=str(tmp_path))
    assert judged.config["name"] == "conformance"
    assert len(judged.config) > 2 or name == "sbr"
    assert bool(judged.before) == ("plugins" in CONFIGURATIONS[name])


def test_loopback_is_judged_by_its_own_interface(tmp_path: Path) -> None:
    (tmp_path / "loopback").write_text("")
    (tmp_path / "loopback").chmod(0o755)
    assert read_subject(tmp_path / "loopback").ifname == "lo"
    assert read_subject(tmp_path / "loopback", ifname="net1").ifname == "net1"


def test_json_output_has_every_part_of_a_finding() -> None:
    assert json.loads(json.dumps(findings.as_json(FOUND)))[1] == {
        "clause": "del can be repeated",
        "section": "§2 DEL",
        "says": "says",
        "verb": "DEL",
        "level": "must",
        "verdict": "failed",
        "evidence": "seen " * 200,
    }


class Failing:
    """What pytest reports about a failed test."""

    skipped = False


@pytest.mark.parametrize(
    ("failure", "evidence"),
    [
        (AssertionError("it is\x1b[2J \0wrong\n"), r"it is\x1b[2J \x00wrong" + "\n"),
        (AssertionError("x" * 9999), "x" * 4000 + "..."),
        (KeyError("ips"), "it cannot be read: KeyError: 'ips'"),
    ],
)
def test_evidence_is_printable_bounded_and_says_what_happened(
    failure: Exception, evidence: str
) -> None:
    with pytest.raises(type(failure)) as seen:
        raise failure
    assert findings.evidence_of(cast("pytest.TestReport", Failing()), seen, []) == evidence


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plugin", "/nowhere"], "/nowhere is not an executable file"),
        (["--plugin", "/bin/true", "--config", "/nowhere"], "/nowhere cannot be read"),
    ],
)
def test_the_command_says_why_it_cannot_start(options: list[str], words: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert main(["conformance", *options], out, err) == 2
    assert out.getvalue() == ""
    assert err.getvalue().startswith("amdcni: ")
    assert words in err.getvalue()
