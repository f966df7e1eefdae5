"""What is set for `amdcni manifests` and cannot be is refused in words, all of it at once."""

import shlex
import sys
from typing import Any

import pytest

from amdcni.cli import main
from amdcni.deployment import KEYS
from tests.unit.deployments import (
    IMAGE,
    containers_of,
    objects,
    objects_in,
    pods_in,
    printed,
    refusal,
)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("binDri=/x", "there is no key 'binDri': did you mean binDir?"),
        ("bindir=/x", "there is no key 'bindir': did you mean binDir?"),
        ("dashboards=true", "there is no key 'dashboards': did you mean dashboard?"),
        ("zzz=1", f"there is no key 'zzz': the keys are {', '.join(KEYS)}"),
        ("binDir", "'binDir' is not KEY=VALUE"),
        (
            "binDir=opt",
            "binDir: 'opt' is not an absolute path of plain names, such as /opt/cni/bin",
        ),
        ("binDir=/a/../b", "binDir: '/a/../b' is not an absolute path"),
        ("binDir=/", "binDir: '/' is not an absolute path"),
        ("namespace=Kube", "namespace: 'Kube' is not a name in lower case without dots"),
        ("namespace=a\nb", "is not a name in lower case without dots"),
        ("podMonitor=yes", "podMonitor: 'yes' is not true or false"),
        ("maxUnavailable=0", "maxUnavailable: '0' is not a number of nodes"),
        ("maxUnavailable=101%", "is not a number of nodes or a percentage of them"),
        ("memoryLimit=256MB", "memoryLimit: '256MB' is not an amount of memory, such as 256Mi"),
        ("cpuRequest=-1", "cpuRequest: '-1' is not an amount of CPU, such as 50m"),
        ("metrics=9464", "metrics: '9464' is not where metrics can be served"),
        ("metrics=node:70000", "metrics: 'node:70000' is not where metrics can be served"),
        ("metrics=127.0.0.1:0", "metrics: '127.0.0.1:0' is not where metrics can be served"),
        ("metrics=[node:1", "is not where metrics can be served"),
        ("imagePullPolicy=never", "imagePullPolicy: 'never' is not a pull policy"),
        ("resourceName=nic", "resourceName: 'nic' is not the name of a device plugin's resource"),
        ("tolerations=a:Never", "tolerations: 'a:Never' is not a taint to tolerate"),
        ("nodeSelector=a", "nodeSelector: 'a' is not a label"),
        ("nodeSelector=a=1,a=2", "nodeSelector: 'a=1,a=2' has a label twice"),
        ("memoryLimit=1Mi", "memoryRequest is more than memoryLimit"),
        ("cpuLimit=1m", "cpuRequest is more than cpuLimit"),
        ("podMonitor=true", "podMonitor: Prometheus cannot reach metrics=127.0.0.1:9464"),
        ("nodes=a", "nodes is for --uninstall"),
    ],
)
def test_what_is_set_wrong_is_refused_in_words(setting: str, said: str) -> None:
    refused = refusal("--image", IMAGE, "--set", setting)
    assert refused.startswith("amdcni: ")
    assert said in refused


def test_all_faults_are_named_at_once() -> None:
    sets = ["events=1", "x=1", "binDir=/a", "binDir=/b", "nothing"]
    refused = refusal("--image", IMAGE, *(word for each in sets for word in ("--set", each)))
    for said in ("events: '1'", "no key 'x'", "binDir is set twice", "'nothing' is not KEY=VALUE"):
        assert said in refused


@pytest.mark.parametrize("nodes", [[], ["--set", "nodes="], ["--set", "nodes=a,B"]])
def test_nothing_is_uninstalled_unless_nodes_are_named(nodes: list[str]) -> None:
    assert "node" in refusal("--image", IMAGE, "--uninstall", *nodes)


@pytest.mark.parametrize("image", ["", "Amdcni", "a b", "a:b:c", "a@sha256:12", "-a", "a\n"])
def test_what_cannot_be_an_image_is_refused(image: str) -> None:
    assert "is not the name of an image" in refusal(f"--image={image}")


@pytest.mark.parametrize(
    "image",
    [
        "amdcni",
        "localhost:5000/x/amdcni:v1_2",
        "docker.io/library/amdcni@sha256:" + "0" * 64,
        "[2001:db8::1]:5000/a__b/c-d:1@sha256:" + "f" * 64,
    ],
)
def test_any_image_is_taken_as_it_is(image: str) -> None:
    (pod,) = pods_in(objects("--image", image))
    assert {each["image"] for each in containers_of(pod)} == {image}


def test_an_image_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["manifests"], sys.stdout, sys.stderr)
    assert ended.value.code == 2
    assert "--image" in capsys.readouterr().err


def test_an_example_has_nothing_to_uninstall() -> None:
    assert "delete it by kubectl" in refusal("--example", "--uninstall")


def test_the_first_line_is_the_command_that_prints_the_same() -> None:
    command = [
        "--image",
        IMAGE,
        "--platform",
        "rke2",
        "--set",
        "nodeSelector=a=b,c=",
        "--set",
        "nodes=x y",
        "--uninstall",
    ]
    text = printed(*command)
    first: list[Any] = shlex.split(text.partition("\n")[0].removeprefix("# "))
    assert first == ["amdcni", "manifests", *command]
    assert objects_in(printed(*first[2:])) == objects_in(text)
