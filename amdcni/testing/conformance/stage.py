"""Where a clause is tried: a throwaway node with four NICs, and as many containers as it takes.

The NICs are `eth1` to `eth4`, with the PCI addresses 0000:c1:00.0 to 0000:c4:00.0, a driver, IPv4
and IPv6 addresses, a route, and a peer at the other end.  The node forwards packets, as the nodes
of clusters do, so a plugin that turns forwarding on changes nothing.

The containers are numbered like the NICs: where the configuration names the first NIC, that of the
second container names the second one.
"""

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import pytest
from attrs import evolve, field, frozen

from amdcni.core.codec import result_to_json
from amdcni.core.errors import AmdcniError
from amdcni.core.libcni import Wanted, add, conduct, delete
from amdcni.core.names import parse_container_id, parse_ifname, parse_network_name
from amdcni.core.spec import AttachmentId, Json, PluginCall, PluginList, Result, Verb
from amdcni.core.versions import (
    CHECK_SINCE,
    GC_AND_STATUS_SINCE,
    SUPPORTED,
    CniVersion,
    at_least,
)
from amdcni.testing.cni import CallOptions, Outcome, environment_of, executor
from amdcni.testing.conformance.clauses import fail, not_applicable
from amdcni.testing.conformance.subject import CannotJudge, Subject, bdf_of, for_nic, ifname_of
from amdcni.testing.conformance.views import links_in
from amdcni.testing.namespaces import StrPath
from amdcni.testing.node import Node
from amdcni.testing.pods import Pod

NICS = 4
"""How many NICs the node has, and thus how many containers can have one."""

_SINCE = {
    Verb.CHECK: CHECK_SINCE,
    Verb.GC: GC_AND_STATUS_SINCE,
    Verb.STATUS: GC_AND_STATUS_SINCE,
}
_FORBIDDEN_BY = {Verb.CHECK: "disableCheck", Verb.GC: "disableGC"}

# What a runtime removes from a configuration before a plugin gets it (CNI SPEC 1.1 §1 and §3); a
# prevResult there would be one that no plugin gave.
_OF_THE_RUNTIME = {"capabilities", "disableCheck", "disableGC", "prevResult"}


@frozen
class Spoken:
    """A call of the plugin with its environment and configuration, and what it answered."""

    verb: str
    environ: Mapping[str, str]
    config: Mapping[str, object] | bytes
    outcome: Outcome

    def __str__(self) -> str:
        return f"{self.verb}: {self.outcome}"


@frozen(eq=False)
class Stage:
    """A node, the plugin that is called on it, and the calls so far."""

    node: Node
    subject: Subject
    supported: tuple[str, ...]
    transcript: list[Spoken] = field(factory=list)

    @property
    def version(self) -> CniVersion:
        """The version to speak, unless a clause is about another one."""
        return self.subject.version_among(self.supported)

    @property
    def spoken(self) -> tuple[CniVersion, ...]:
        """The versions that the plugin lists, oldest first; if it lists none, the one above."""
        listed = tuple(version for version in SUPPORTED if version in self.supported)
        return listed or (self.version,)

    def rehearse(self) -> None:
        """Attach and detach a container, as most clauses do; `transcript` says how that went.

        Raises:
            CannotJudge: they fail, or the plugin does not list the version of its configuration.
        """
        if self.supported and self.version not in self.supported:
            among = "it and those before it list" if self.subject.before else "the plugin lists"
            raise CannotJudge(
                f"the configuration is for CNI {self.version}, but {among} "
                f"{', '.join(self.supported)}"
            )
        container = self.container()
        try:
            ready = container.prepared()
            with contextlib.suppress(pytest.fail.Exception):
                # A call that does not end is found again, by the clauses that make it.
                ready.add()
                ready.delete()
            ready.detach_before()
        except AmdcniError as failure:
            raise CannotJudge(f"a plugin before this one fails: {failure}") from None

    def container(self, number: int = 1) -> "Container":
        """Return the container of this number, with a network namespace as a runtime makes it."""
        pod, ifname = self.node.add_pod(f"pod{number}"), self.subject.ifname
        if ifname == "lo":
            pod.ip("link set lo down")
        config = _for_execution(self.subject.config_in(self.version, number))
        dirs = self.subject.dirs
        return Container(self, f"container-{number}", ifname, pod, config, dirs, nic=number)

    def second_of(self, container: "Container", ifname: str) -> "Container":
        """Return the same container with another interface to attach, for the second NIC."""
        config = _for_execution(self.subject.config_in(container.version, 2))
        return evolve(container, ifname=ifname, config=config, nic=2)

    def find_version_since(self, since: CniVersion) -> CniVersion | None:
        """Return the version to speak for what exists since `since`, if the plugin speaks one."""
        if at_least(self.version, since):
            return self.version
        spoken = [version for version in self.spoken if at_least(version, since)]
        return spoken[-1] if spoken else None

    def version_since(self, since: CniVersion) -> CniVersion:
        """Return the version to speak for what exists since `since`.

        The clause is not applicable to a plugin that speaks none so new.
        """
        return self.find_version_since(since) or not_applicable(
            f"the plugin speaks no CNI version from {since} on"
        )

    def needs_an_interface(self) -> None:
        """Leave out plugins that do nothing in the container."""
        if self.subject.is_ipam:
            not_applicable("an IPAM plugin does nothing in the container")

    def needs_a_maker(self) -> None:
        """Leave out plugins that do not make the interface."""
        if not self.subject.makes_the_interface:
            not_applicable("the plugin does not make the interface")

    def call(
        self, verb: Verb | str, config: Mapping[str, object] | bytes, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Call the plugin, and record the outcome; CNI_PATH is that of the subject."""
        subject = self.subject
        options.setdefault("path", subject.dirs)
        call = self.node.start_cni(str(verb), subject.executable, config, **options)
        try:
            outcome = call.wait(subject.timeout_s)
        except subprocess.TimeoutExpired:
            fail(f"{verb} did not end within {subject.timeout_s:g} s and was killed")
        environ = environment_of(str(verb), options)
        self.transcript.append(Spoken(str(verb), environ, config, outcome))
        return outcome


@frozen(eq=False)
class Container:
    """A container, for which the plugin is called as a runtime calls it."""

    stage: Stage
    id: str
    ifname: str
    pod: Pod
    config: Mapping[str, object]
    path: Sequence[StrPath]
    """What becomes CNI_PATH."""
    previous: Mapping[str, Any] | None = None
    """What the plugins before this one answered to ADD."""
    nic: int = 1
    """The number of the NIC that the plugins before this one find in place of the first."""

    @property
    def version(self) -> CniVersion:
        """The version that is spoken."""
        return CniVersion(str(self.config["cniVersion"]))

    def having(self, **keys: object) -> "Container":
        """Return one whose configuration has these keys instead."""
        return evolve(self, config={**self.config, **keys})

    def speaking(self, version: CniVersion) -> "Container":
        """Return one that is called in another version."""
        return self.having(cniVersion=version)

    def find_able_to(self, verb: Verb) -> "Container | None":
        """Return one that is called in a version with the verb.

        None if the plugin speaks no such version, or the network's configuration forbids the verb.
        """
        key = _FORBIDDEN_BY.get(verb)
        version = self.stage.find_version_since(_SINCE[verb])
        if version is None or (key is not None and self.stage.subject.config.get(key) is True):
            return None
        return self.speaking(version)

    def able_to(self, verb: Verb) -> "Container":
        """Return the one of `find_able_to`; without it the clause is not applicable."""
        return self.find_able_to(verb) or not_applicable(
            f"no CNI version from {_SINCE[verb]} on is spoken by the plugin and those before it, "
            "or it must not be asked"
        )

    def call(
        self,
        verb: Verb | str,
        *,
        result: Mapping[str, Any] | None = None,
        config: Mapping[str, object] | bytes | None = None,
        **options: Unpack[CallOptions],
    ) -> Outcome:
        """Call the plugin for this container; `result` is given to it as prevResult."""
        given = config if isinstance(config, bytes) else self._given(config, result)
        options.setdefault("container_id", self.id)
        options.setdefault("ifname", self.ifname)
        options.setdefault("netns", self.pod)
        options.setdefault("path", self.path)
        return self.stage.call(verb, given, **options)

    def call_for_none(self, verb: Verb, **options: Unpack[CallOptions]) -> Outcome:
        """Call the plugin with its configuration, but for no container, as with GC and STATUS."""
        none: CallOptions = {"container_id": None, "ifname": None, "netns": None}
        options.update(none)
        options.setdefault("path", self.path)
        return self.stage.call(verb, self.config, **options)

    def prepared(self) -> "Container":
        """Return it once the plugins before this one have attached it, which they do only once."""
        if not self.stage.subject.before or self.previous is not None:
            return self
        made = conduct(add(self._before(), self._wanted()), self._execute())
        return evolve(self, previous=dict(result_to_json(made, self.version)))

    def add(self, **options: Unpack[CallOptions]) -> Outcome:
        """Return the outcome of ADD, after the plugins before this one."""
        ready = self.prepared()
        return ready.call(Verb.ADD, result=ready.previous, **options)

    def add_killed(self, after_s: float) -> None:
        """Call ADD, after the plugins before this one, and kill it after some time."""
        ready, subject = self.prepared(), self.stage.subject
        call = self.stage.node.start_cni(
            Verb.ADD,
            subject.executable,
            ready._given(None, ready.previous),
            container_id=self.id,
            ifname=self.ifname,
            netns=self.pod,
            path=self.path,
        )
        time.sleep(after_s)
        call.kill()

    def attached(self, **options: Unpack[CallOptions]) -> dict[str, Any]:
        """Return the result of an ADD without which the clause cannot be tried."""
        outcome = self.add(**options)
        result = outcome.answer
        if not outcome.succeeded or not isinstance(result, dict):
            not_applicable(f"it needs an ADD that works, and this one does not: {outcome}")
        return result

    def delete(
        self, result: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Return the outcome of DEL; prevResult is there if a runtime has one for the version."""
        known = result if at_least(self.version, CHECK_SINCE) else None
        return self.call(Verb.DEL, result=known, **options)

    def detach_before(self) -> None:
        """Let the plugins before this one detach it."""
        if self.stage.subject.before:
            conduct(delete(self._before(), self._wanted(), Result()), self._execute())

    def links(self) -> dict[str, dict[str, Any]]:
        """Return what `ip` shows of each netdev in the pod, with its addresses."""
        return links_in(self.pod)

    def _given(
        self, config: Mapping[str, object] | None, result: Mapping[str, Any] | None
    ) -> Mapping[str, object]:
        given = self.config if config is None else config
        if result is None:
            return given
        return {**given, "prevResult": {**result, "cniVersion": self.version}}

    def _before(self) -> PluginList:
        subject = self.stage.subject
        name = parse_network_name(str(subject.config["name"]))
        before = [for_nic(_for_execution(config), self.nic) for config in subject.before]
        return PluginList(name, self.version, tuple(before))

    def _wanted(self) -> Wanted:
        id = AttachmentId(parse_container_id(self.id), parse_ifname(self.ifname))
        return Wanted(id, self.pod.netns)

    def _execute(self) -> Callable[[PluginCall], Json]:
        subject = self.stage.subject
        return executor(self.stage.node, subject.dirs, timeout_s=subject.timeout_s)


def valid_attachments(*containers: Container) -> dict[str, list[dict[str, str]]]:
    """Return the keys of GC's configuration that list which attachments are valid.

    The specification has one in one place and the other in another, and libcni sends both.
    """
    listed = [{"containerID": one.id, "ifname": one.ifname} for one in containers]
    return {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}


def _for_execution(config: Json) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _OF_THE_RUNTIME}


def build(node: Node, subject: Subject, supported: tuple[str, ...], *, nics: int = NICS) -> Stage:
    """Return a stage on a node that has nothing yet."""
    forwarding = [f"/proc/sys/net/{family}/conf/all/forwarding" for family in ("ipv4", "ipv6")]
    node.output_of(["tee", *forwarding], stdin=b"1")
    routes = []
    for number in range(1, nics + 1):
        ifname = ifname_of(number)
        node.add_nic(bdf_of(number), ifname, [f"10.0.{number}.0/31", f"fd00:0:0:{number}::8/64"])
        routes.append(f"route add 192.0.{number}.0/24 via 10.0.{number}.1 dev {ifname}")
    node.ip_batch(routes)
    return Stage(node, subject, supported)
