"""What `amdcni manifests` prints, read back, and any settings that it takes."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from hypothesis import strategies as st

from amdcni.cli import main
from amdcni.deployment import Platform

Object = dict[str, Any]

IMAGE = "amdcni:1.0"


def printed(*arguments: str) -> str:
    """What the command prints."""
    stdout, stderr = io.StringIO(), io.StringIO()
    status = main(["manifests", *arguments], stdout, stderr)
    assert (status, stderr.getvalue()) == (0, "")
    return stdout.getvalue()


def refusal(*arguments: str) -> str:
    """What the command says when it prints nothing."""
    stdout, stderr = io.StringIO(), io.StringIO()
    assert main(["manifests", *arguments], stdout, stderr) == 1
    assert stdout.getvalue() == ""
    return stderr.getvalue()


def objects_in(text: str) -> list[Object]:
    return list(yaml.safe_load_all(text))


def objects(*arguments: str) -> list[Object]:
    """The objects that the command prints."""
    return objects_in(printed(*arguments))


def installed(*settings: str, platform: Platform = Platform.PLAIN) -> list[Object]:
    """The objects that install amdcni."""
    sets = [word for setting in settings for word in ("--set", setting)]
    return objects("--image", IMAGE, "--platform", platform, *sets)


def kind(wanted: str, found: list[Object]) -> Object:
    """The only object of a kind."""
    (only,) = (each for each in found if each["kind"] == wanted)
    return only


def pods_in(found: list[Object]) -> Iterator[Object]:
    """The specifications of all pods that these objects make."""
    for each in found:
        if each["kind"] == "Pod":
            yield each["spec"]
        elif each["kind"] in ("DaemonSet", "Job"):
            yield each["spec"]["template"]["spec"]


def containers_of(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
_LABELS = st.builds("{}={}".format, _NAMES, st.from_regex(r"([A-Za-z0-9]{1,9})?", fullmatch=True))
_YES = st.sampled_from(["true", "false"])
_TAINTS = st.builds(
    "{}{}{}".format,
    _NAMES,
    st.one_of(st.just(""), _NAMES.map("={}".format)),
    st.sampled_from(["", ":NoSchedule", ":PreferNoSchedule", ":NoExecute"]),
)


def _listed(each: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(each, min_size=1, max_size=3, unique_by=lambda text: text.split("=")[0]).map(
        ",".join
    )


VALUES: Mapping[str, st.SearchStrategy[str]] = {
    "imagePullPolicy": st.sampled_from(["Always", "IfNotPresent", "Never"]),
    "imagePullSecret": _NAMES,
    "namespace": st.one_of(_NAMES, st.just("kube-system")),
    "binDir": st.lists(_NAMES, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    "dataDir": st.lists(_NAMES, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    "nodeSelector": st.one_of(st.just(""), _listed(_LABELS)),
    "tolerations": st.one_of(st.sampled_from(["all", "none"]), _listed(_TAINTS)),
    "priorityClassName": _NAMES,
    "maxUnavailable": st.sampled_from(["1", "25", "1%", "100%"]),
    "cpuRequest": st.sampled_from(["1m", "100m", "0.25"]),
    "cpuLimit": st.sampled_from(["250m", "0.5", "4"]),
    "memoryRequest": st.sampled_from(["64Mi", "100M", "134217728"]),
    "memoryLimit": st.sampled_from(["128Mi", "1Gi", "200M"]),
    "metrics": st.sampled_from(["node:9464", "[node]:9464", "0.0.0.0:1", "192.0.2.1:65535"]),
    "events": _YES,
    "podMonitor": _YES,
    "alerts": _YES,
    "dashboard": _YES,
    "monitoringLabels": _listed(_LABELS),
    "resourceName": _NAMES.map("example.com/{}".format),
}
"""Values of the keys, which may be combined at will: each key is set right by itself."""

settings = st.fixed_dictionaries({}, optional=dict(VALUES)).map(
    lambda given: [f"{key}={value}" for key, value in given.items()]
)
"""What can be set for installing."""
