"""What `amdcni manifests` prints is what Kubernetes takes, with no more rights than needed."""

import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from amdcni.cli import main
from amdcni.core.kubernetes import parse_definition, parse_pod
from amdcni.deployment import KEYS, Platform
from distribution.debian import ARCH
from distribution.image import ARCHITECTURES
from tests.unit.deployments import (
    IMAGE,
    VALUES,
    Object,
    containers_of,
    installed,
    kind,
    objects,
    pods_in,
    printed,
    settings,
)
from tests.unit.promtool import promtool

ROOT = Path(__file__).parents[2]
RENDERED = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))

_SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
VERSIONS = sorted(
    {match[1] for path in _SCHEMAS.iterdir() if (match := re.match(r"v(1\.\d+)\.", path.name))},
    key=lambda version: int(version.partition(".")[2]),
)

WITHOUT_SCHEMA = {
    "NetworkAttachmentDefinition",
    "PodMonitor",
    "PrometheusRule",
    "SecurityContextConstraints",
}
"""Kinds of custom resources and of OpenShift, of which the package has no schema.

Below, the definition is read by our own reader, the rules by Prometheus' own checker, and the other
two are held against the pods that they are about.
"""

MONITORED = ("podMonitor=true", "alerts=true", "dashboard=true", "metrics=node:9464")


def everything() -> list[Object]:
    """Objects of every kind that is ever printed."""
    found = [each for platform in Platform for each in installed(*MONITORED, platform=platform)]
    removal = ["--image", IMAGE, "--uninstall", "--set", "nodes=node-1"]
    return [*found, *objects("--example"), *objects(*removal)]


def faults_of(each: Object, version: str) -> str | None:
    """What the schemas of a version of Kubernetes have against an object, which also has to know
    each of its keys."""
    try:
        kubernetes_validate.validate(each, version, strict=True)
    except kubernetes_validate.ValidationError as fault:
        return f"{each['kind']}: {list(fault.path)}: {fault.message}"
    except kubernetes_validate.SchemaNotFoundError:
        return "no schema"
    return None


def test_there_are_schemas_of_many_versions() -> None:
    assert VERSIONS[0] == "1.25"
    assert len(VERSIONS) >= 10


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_one_of_that_version_of_kubernetes(version: str) -> None:
    faults = {
        each["kind"]: fault
        for each in everything()
        if (fault := faults_of(each, version)) is not None
    }
    assert faults == dict.fromkeys(WITHOUT_SCHEMA, "no schema")


def test_pods_are_only_on_nodes_that_can_run_the_image() -> None:
    for platform in Platform:
        (pod,) = pods_in(installed(platform=platform))
        on = {"kubernetes.io/os": "linux", "kubernetes.io/arch": ARCHITECTURES[ARCH]}
        assert pod["nodeSelector"] == on


def test_a_misspelt_key_would_be_found() -> None:
    daemon_set = kind("DaemonSet", installed())
    pod = daemon_set["spec"]["template"]["spec"]
    pod["hostPid"] = pod.pop("hostPID")
    assert "hostPid" in (faults_of(daemon_set, VERSIONS[-1]) or "")


@given(st.sampled_from(Platform), settings)
def test_whatever_is_set_the_objects_fit_kubernetes_and_one_another(
    platform: Platform, chosen: list[str]
) -> None:
    chosen = [each for each in chosen if not each.startswith("metrics=")] + ["metrics=node:9464"]
    found = installed(*chosen, platform=platform)
    for each in found:
        assert faults_of(each, VERSIONS[-1]) in (None, "no schema")
    check_consistency(found)


def check_consistency(found: list[Object]) -> None:
    """What refers to another object names it as it is named."""
    space = kind("ServiceAccount", found)["metadata"]["namespace"]
    assert {each["metadata"].get("namespace", space) for each in found} == {space}
    assert {each["metadata"]["name"] for each in found if each["kind"] == "Namespace"} <= {space}
    for each in found:
        if each["kind"] == "ClusterRoleBinding":
            (subject,) = each["subjects"]
            assert (subject["name"], subject["namespace"]) == ("amdcni", space)
            assert each["roleRef"]["name"] == kind("ClusterRole", found)["metadata"]["name"]
    for pod in pods_in(found):
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {
            mount["name"]
            for container in containers_of(pod)
            for mount in container.get("volumeMounts", [])
        }
        assert mounts == volumes
        assert pod["serviceAccountName"] == kind("ServiceAccount", found)["metadata"]["name"]


def test_the_strategy_of_settings_has_every_key() -> None:
    assert set(VALUES) == set(KEYS) - {"nodes"}


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: str(path.name))
def test_a_rendered_file_is_what_the_command_in_its_first_line_prints(path: Path) -> None:
    text = path.read_text()
    (name, command, *arguments) = shlex.split(text.partition("\n")[0].removeprefix("# "))
    assert (name, command) == ("amdcni", "manifests")
    assert printed(*arguments) == text, "make manifests renders them anew"


def test_each_platform_has_a_rendered_file() -> None:
    installs = {path.name for path in RENDERED if path.name.startswith("install-")}
    assert installs == {f"install-{platform}.yaml" for platform in Platform}


# ---- rights


@pytest.mark.parametrize("platform", Platform)
def test_the_cluster_lets_the_agent_write_events_and_nothing_else(platform: Platform) -> None:
    found = installed(platform=platform)
    (rule,) = kind("ClusterRole", found)["rules"]
    assert set(rule) == {"apiGroups", "resources", "verbs"}
    assert (rule["apiGroups"], rule["resources"]) == ([""], ["events"])
    assert set(rule["verbs"]) == {"create", "patch"}
    assert not [each for each in found if each["kind"] in ("Role", "RoleBinding")]


def mounts_token(container: Object) -> bool:
    return any("serviceaccount" in each["mountPath"] for each in container.get("volumeMounts", []))


@pytest.mark.parametrize("events", [True, False])
def test_only_the_agent_has_a_token_and_only_for_events(events: bool) -> None:
    found = installed(f"events={str(events).lower()}")
    assert kind("ServiceAccount", found)["automountServiceAccountToken"] is False
    (pod,) = pods_in(found)
    assert pod["automountServiceAccountToken"] is False
    holders = [each["name"] for each in containers_of(pod) if mounts_token(each)]
    assert holders == (["agent"] if events else [])
    assert any(each["kind"] == "ClusterRole" for each in found) is events


def test_installing_is_not_privileged_and_has_only_the_listed_capabilities() -> None:
    for pod in pods_in([each for each in everything() if each["metadata"]["name"] != "workload"]):
        for container in containers_of(pod):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security.get("privileged", False) is (container["name"] != "install")
            if container["name"] == "install":
                assert security["allowPrivilegeEscalation"] is False
                assert security["capabilities"]["drop"] == ["ALL"]
                added = {"DAC_OVERRIDE", "FOWNER", "SYS_PTRACE"}
                assert set(security["capabilities"]["add"]) == added


@pytest.mark.parametrize("platform", Platform)
def test_a_namespace_admits_privileged_pods_unless_it_is_the_clusters_own(
    platform: Platform,
) -> None:
    space = kind("Namespace", installed(platform=platform))
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    kinds = [each["kind"] for each in installed("namespace=kube-system", platform=platform)]
    assert "Namespace" not in kinds
    assert "ResourceQuota" not in kinds


def admits(constraints: Object, pod: Object) -> bool:
    """Whether OpenShift lets such a pod in: its documentation of these constraints, as code."""
    kinds = {key for volume in pod["volumes"] for key in volume if key != "name"}
    return (
        (constraints["allowHostPID"] or not pod.get("hostPID"))
        and (constraints["allowHostNetwork"] or not pod.get("hostNetwork"))
        and (constraints["allowHostPorts"] or not any(c.get("ports") for c in containers_of(pod)))
        and (constraints["allowHostDirVolumePlugin"] or "hostPath" not in kinds)
        and kinds <= set(constraints["volumes"])
        and all(
            admits_container(constraints, each["securityContext"]) for each in containers_of(pod)
        )
    )


def admits_container(constraints: Object, security: Object) -> bool:
    added = set(security.get("capabilities", {}).get("add", []))
    escalates = security.get("allowPrivilegeEscalation", True)
    return (
        (constraints["allowPrivilegedContainer"] or not security.get("privileged"))
        and (constraints["allowPrivilegeEscalation"] or not escalates)
        and added <= set(constraints["allowedCapabilities"])
        and (security["readOnlyRootFilesystem"] or not constraints["readOnlyRootFilesystem"])
        and (
            constraints["seLinuxContext"]["type"] == "RunAsAny" or "seLinuxOptions" not in security
        )
    )


@given(settings)
def test_openshift_admits_the_pods_and_would_not_without_any_of_its_constraints(
    chosen: list[str],
) -> None:
    chosen = [each for each in chosen if not each.startswith(("metrics=", "podMonitor="))]
    nodes = ["--uninstall", "--set", "nodes=a"]
    sets = [word for each in chosen for word in ("--set", each)]
    whole = ["--image", IMAGE, "--platform", "openshift", *sets]
    found = objects(*whole)
    pods = [*pods_in(found), *pods_in(objects(*whole, *nodes))]
    constraints = kind("SecurityContextConstraints", found)
    space = kind("ServiceAccount", found)["metadata"]["namespace"]
    assert constraints["users"] == [f"system:serviceaccount:{space}:amdcni"]
    assert all(admits(constraints, pod) for pod in pods)
    for key in [key for key, value in constraints.items() if value is True and key[:5] == "allow"]:
        assert not all(admits({**constraints, key: False}, pod) for pod in pods)


# ---- the agent's container


def agent_of(found: list[Object]) -> Object:
    (pod,) = pods_in(found)
    (agent,) = pod["containers"]
    return dict(agent)


def probes_of(agent: Object) -> list[Object]:
    return [agent[each]["httpGet"] for each in agent if each.endswith("Probe")]


@pytest.mark.parametrize(
    ("metrics", "argument", "host"),
    [
        ("127.0.0.1:9464", "127.0.0.1:9464", "127.0.0.1"),
        ("[::1]:9000", "[::1]:9000", "::1"),
        ("0.0.0.0:80", "0.0.0.0:80", "127.0.0.1"),
        ("[::]:80", "[::]:80", "::1"),
        ("192.0.2.7:1", "192.0.2.7:1", "192.0.2.7"),
        ("node:9464", "$(NODE_IP):9464", None),
        ("[node]:9464", "[$(NODE_IP)]:9464", None),
    ],
)
def test_the_probes_ask_where_the_agent_serves(
    metrics: str, argument: str, host: str | None
) -> None:
    agent = agent_of(installed(f"metrics={metrics}"))
    assert f"--metrics={argument}" in agent["args"]
    port = int(argument.rpartition(":")[2])
    assert len(probes_of(agent)) == 3
    # Without a host, the kubelet asks at the pod's address, which is the node's.
    assert {(probe["port"], probe.get("host")) for probe in probes_of(agent)} == {(port, host)}
    assert agent["ports"] == [{"name": "metrics", "containerPort": port, "protocol": "TCP"}]
    named = {each["name"] for each in agent["env"]}
    assert ("NODE_IP" in named) is ("NODE_IP" in argument)


def test_without_metrics_there_are_no_probes_and_no_port() -> None:
    agent = agent_of(installed("metrics=off"))
    assert "--metrics=off" in agent["args"]
    assert (probes_of(agent), "ports" in agent) == ([], False)


@pytest.mark.parametrize("platform", Platform)
@pytest.mark.parametrize("own", [None, "/var/lib/rancher/k3s/data/cni"])
def test_what_is_installed_is_what_the_agent_executes(platform: Platform, own: str | None) -> None:
    found = installed(*([] if own is None else [f"binDir={own}"]), platform=platform)
    usual = {Platform.GKE: "/home/kubernetes/bin", Platform.OPENSHIFT: "/var/lib/cni/bin"}
    folder = own or usual.get(platform, "/opt/cni/bin")
    (pod,) = pods_in(found)
    (install,) = pod["initContainers"]
    (mount,) = install["volumeMounts"]
    assert install["args"] == ["install", f"--bin-dir={mount['mountPath']}"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mount["name"]]["hostPath"]["path"] == folder
    agent = agent_of(found)
    assert f"--on-host={folder}" in agent["args"]
    assert {"name": "CNI_PATH", "value": folder} in agent["env"]


@given(settings)
def test_memory_is_always_limited_and_cpu_only_on_demand(chosen: list[str]) -> None:
    chosen = [each for each in chosen if not each.startswith("podMonitor=")]
    agent = agent_of(installed(*chosen))
    limits = (
        {"memory", "cpu"} if any(each.startswith("cpuLimit=") for each in chosen) else {"memory"}
    )
    assert set(agent["resources"]["limits"]) == limits
    assert set(agent["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize(
    ("text", "tolerations"),
    [
        ("all", [{"operator": "Exists"}]),
        ("none", []),
        ("a", [{"key": "a", "operator": "Exists"}]),
        ("a=b", [{"key": "a", "operator": "Equal", "value": "b"}]),
        (
            "x.io/a=:NoExecute,c:NoSchedule",
            [
                {"key": "x.io/a", "operator": "Equal", "value": "", "effect": "NoExecute"},
                {"key": "c", "operator": "Exists", "effect": "NoSchedule"},
            ],
        ),
    ],
)
def test_taints_are_written_as_for_kubectl(text: str, tolerations: list[Object]) -> None:
    (pod,) = pods_in(installed(f"tolerations={text}"))
    assert pod["tolerations"] == tolerations


def test_gke_has_a_quota_for_the_priority_of_the_pods() -> None:
    found = installed("priorityClassName=nics", platform=Platform.GKE)
    (scope,) = kind("ResourceQuota", found)["spec"]["scopeSelector"]["matchExpressions"]
    (pod,) = pods_in(found)
    assert scope["values"] == [pod["priorityClassName"]]


# ---- monitoring


def test_the_pod_monitor_finds_the_pods_and_their_port() -> None:
    found = installed(*MONITORED, "monitoringLabels=release=prometheus")
    monitor = kind("PodMonitor", found)
    template = kind("DaemonSet", found)["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in agent_of(found)["ports"]}
    # The job of the alerts.
    assert labels[monitor["spec"]["jobLabel"]] == "amdcni"
    for each in ("PodMonitor", "PrometheusRule"):
        assert kind(each, found)["metadata"]["labels"]["release"] == "prometheus"


def test_prometheus_understands_the_rules(tmp_path: Path) -> None:
    rules = kind("PrometheusRule", installed("alerts=true"))["spec"]
    assert rules == yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    done = subprocess.run([promtool(), "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_dashboard_is_the_file_of_deploy() -> None:
    data = kind("ConfigMap", installed("dashboard=true"))["data"]
    assert data == {"amdcni.json": (ROOT / "deploy/grafana/amdcni.json").read_text()}


def test_nothing_that_needs_an_operator_is_printed_unless_asked_for() -> None:
    kinds = {each["kind"] for platform in Platform for each in installed(platform=platform)}
    assert kinds & WITHOUT_SCHEMA == {"SecurityContextConstraints"}
    assert "ConfigMap" not in kinds


def test_a_wheel_has_the_alerts_and_the_dashboard_as_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name, source in (
            ("alerts.yaml", "prometheus/alerts.yaml"),
            ("dashboard.json", "grafana/amdcni.json"),
        ):
            data = archive.read(f"amdcni/deployment/files/{name}")
            assert data == (ROOT / "deploy" / source).read_bytes()


# ---- the example


@given(settings)
def test_the_example_is_read_and_explained(chosen: list[str]) -> None:
    sets = [word for each in chosen for word in ("--set", each) if "podMonitor" not in each]
    definition, pod = objects("--example", *sets)
    parsed = parse_definition(definition)
    resource = next(
        (each[13:] for each in chosen if each.startswith("resourceName=")), "amd.com/nic"
    )
    assert parsed.resource == resource
    assert parse_pod(pod).requests == {resource: 1}
    folder = next((each[8:] for each in chosen if each.startswith("dataDir=")), None)
    assert json.loads(definition["spec"]["config"]).get("dataDir") == folder


def test_amdcni_explains_the_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(printed("--example"))
    command = ["explain", str(path), "--device", "0000:c1:00.0", "--json"]
    assert main(command, sys.stdout, sys.stderr) == 0
    (network,) = json.loads(capsys.readouterr().out)["networks"]
    assert (network["device"], network["calls"][0]["refused"]) == ("0000:c1:00.0", None)
    assert network["configuration"]["mover"] == "native"


# ---- uninstalling


def test_there_is_one_job_for_each_node_which_runs_there_only() -> None:
    long = f"{'n' * 60}.example"
    nodes = ["node-1", "node-1.example", long, f"{long}s"]
    found = objects("--image", IMAGE, "--uninstall", "--set", f"nodes={', '.join(nodes)},")
    jobs = [each for each in found if each["kind"] == "Job"]
    assert len({job["metadata"]["name"] for job in jobs}) == len(nodes)
    assert max(len(job["metadata"]["name"]) for job in jobs) <= 63
    for node, job, pod in zip(nodes, jobs, pods_in(jobs), strict=True):
        assert faults_of(job, VERSIONS[-1]) is None
        affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = affinity["nodeSelectorTerms"]
        assert term == {
            "matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]
        }


@pytest.mark.parametrize(
    ("data_dir", "seen"),
    [
        (None, set()),
        ("/var/lib/cni/amd-host-device", set()),
        ("/var/lib/cni/elsewhere", {"/var/lib/cni/elsewhere"}),
        ("/srv/records", {"/srv/records"}),
    ],
)
def test_uninstalling_sees_all_records_and_cannot_change_one(
    data_dir: str | None, seen: set[str]
) -> None:
    sets = [] if data_dir is None else ["--set", f"dataDir={data_dir}"]
    command = ["--image", IMAGE, "--uninstall", "--set", "nodes=a", *sets]
    (pod,) = pods_in(objects(*command))
    (container,) = pod["containers"]
    paths = {each["name"]: each["hostPath"]["path"] for each in pod["volumes"]}
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    records = {path for path, mount in mounts.items() if mount.get("readOnly")}
    usual = "/var/lib/cni/amd-host-device"
    assert records == {usual, "/run/amdcni"} | seen
    assert all(paths[mounts[path]["name"]] == path for path in records)
    (folder,) = (path for path in mounts if path not in records)
    assert container["args"] == ["uninstall", f"--bin-dir={folder}", f"--data-dir={usual}"]


def test_uninstalling_takes_what_was_set_for_installing() -> None:
    install = [
        "--image",
        IMAGE,
        "--set",
        "namespace=nics",
        "--set",
        "binDir=/x",
        *("--set", "podMonitor=false"),
    ]
    found = objects(*install, "--uninstall", "--set", "nodes=a")
    check_consistency(found)
    (pod,) = pods_in(found)
    assert {"path": "/x", "type": "DirectoryOrCreate"} in [
        each["hostPath"] for each in pod["volumes"]
    ]
