"""Where a clause is tried: a throwaway node with four NICs, and as many containers as it takes.

The NICs are `eth1` to `eth4`, with the PCI addresses 0000:c1:00.0 to 0000:c4:00.0, a driver, IPv4
and IPv6 addresses, a route, and a peer at the other end.  The node forwards packets, as those of
clusters do, so that a plugin that sees to it changes nothing.

The containers are numbered like the NICs: what the configuration says of the first NIC is said of
the second one to the second container.
"""

import subprocess
import time
from collections.abc import Mapping
from typing import Any, Unpack

from attrs import evolve, field, frozen

from amdcni.core.codec import result_to_json
from amdcni.core.errors import AmdcniError
from amdcni.core.names import parse_container_id, parse_ifname, parse_network_name
from amdcni.core.runtime import Wanted, add, conduct, delete
from amdcni.core.spec import AttachmentId, PluginList, Result, Verb
from amdcni.core.versions import CHECK_SINCE, SUPPORTED, CniVersion, at_least
from amdcni.testing.cni import CallOptions, Outcome, executor
from amdcni.testing.conformance.clauses import fail, not_applicable
from amdcni.testing.conformance.subject import CannotJudge, Subject, bdf_of, ifname_of
from amdcni.testing.dumps import Dump, differences
from amdcni.testing.node import Node
from amdcni.testing.pods import Pod

NICS = 4
"""How many NICs the node has, and thus how many containers can have one."""


@frozen
class Spoken:
    """A call of the plugin, and what it answered."""

    verb: str
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
        """The version that is spoken where a clause is not about another one."""
        return self.subject.version_among(self.supported)

    def rehearse(self) -> None:
        """Let the plugins before this one attach a container, as every clause needs it.

        Raises:
            CannotJudge: they fail, or the plugin does not list the version of its configuration.
        """
        if self.supported and self.version not in self.supported:
            raise CannotJudge(
                f"the configuration is of CNI {self.version}, and the plugin lists "
                f"{', '.join(self.supported)}"
            )
        container = self.container()
        try:
            container.prepared()
            container.detach_before()
        except AmdcniError as failure:
            raise CannotJudge(f"a plugin before this one fails: {failure}") from None

    def container(self, number: int = 1) -> "Container":
        """Return the container of this number, with a network namespace as a runtime makes it."""
        pod, ifname = self.node.add_pod(f"pod{number}"), self.subject.ifname
        if ifname == "lo":
            pod.ip("link set lo down")
        config = self.subject.config_in(self.version, number)
        return Container(self, f"container-{number}", ifname, pod, config)

    def second_of(self, container: "Container", ifname: str) -> "Container":
        """Return the same container with another interface to attach, by the second NIC."""
        config = self.subject.config_in(container.version, 2)
        return evolve(container, ifname=ifname, config=config)

    def version_since(self, since: CniVersion) -> CniVersion:
        """Return the version to speak for a verb that exists since `since`.

        A plugin that speaks none so new is not concerned.
        """
        if at_least(self.version, since):
            return self.version
        spoken = [v for v in SUPPORTED if v in self.supported and at_least(v, since)]
        if not spoken:
            not_applicable(f"the plugin speaks no CNI version from {since} on")
        return spoken[-1]

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
        """Call the plugin, and write down what came of it; CNI_PATH is that of the subject."""
        options.setdefault("path", self.subject.dirs)
        subject = self.subject
        call = self.node.start_cni(str(verb), subject.executable, config, **options)
        try:
            outcome = call.wait(subject.timeout_s)
        except subprocess.TimeoutExpired:
            fail([f"{verb} did not end within {subject.timeout_s:g} s, and was killed"])
            raise
        self.transcript.append(Spoken(str(verb), outcome))
        return outcome


@frozen(eq=False)
class Container:
    """A container, to which calls of the plugin are made as a runtime makes them."""

    stage: Stage
    id: str
    ifname: str
    pod: Pod
    config: Mapping[str, object]
    previous: Mapping[str, Any] | None = None
    """What the plugins before this one answered to ADD."""

    @property
    def version(self) -> CniVersion:
        """The version that is spoken."""
        return CniVersion(str(self.config["cniVersion"]))

    def having(self, **keys: object) -> "Container":
        """Return one whose configuration has other keys."""
        return evolve(self, config={**self.config, **keys})

    def speaking(self, version: CniVersion) -> "Container":
        """Return one to which another version is spoken."""
        return self.having(cniVersion=version)

    def call(
        self,
        verb: Verb | str,
        *,
        result: Mapping[str, Any] | None = None,
        config: Mapping[str, object] | bytes | None = None,
        **options: Unpack[CallOptions],
    ) -> Outcome:
        """Call the plugin for this container; `result` is given to it as prevResult."""
        given = self.config if config is None else config
        if result is not None and not isinstance(given, bytes):
            given = {**given, "prevResult": {**result, "cniVersion": self.version}}
        options.setdefault("container_id", self.id)
        options.setdefault("ifname", self.ifname)
        options.setdefault("netns", self.pod)
        return self.stage.call(verb, given, **options)

    def call_killed(
        self, verb: Verb, after_s: float, *, result: Mapping[str, Any] | None = None
    ) -> None:
        """Call the plugin, and kill it with its children after some time."""
        config = self.config if result is None else {**self.config, "prevResult": result}
        call = self.stage.node.start_cni(
            verb,
            self.stage.subject.executable,
            config,
            container_id=self.id,
            ifname=self.ifname,
            netns=self.pod,
            path=self.stage.subject.dirs,
        )
        time.sleep(after_s)
        call.kill()

    def call_for_none(self, verb: Verb, **options: Unpack[CallOptions]) -> Outcome:
        """Call the plugin with its configuration, but for no container, as with GC and STATUS."""
        none: CallOptions = {"container_id": None, "ifname": None, "netns": None}
        options.update(none)
        return self.stage.call(verb, self.config, **options)

    def prepared(self) -> "Container":
        """Return it after the plugins before this one have attached it; once is enough."""
        if not self.stage.subject.before or self.previous is not None:
            return self
        made = conduct(add(self._before(), self._wanted()), self._execute())
        return evolve(self, previous=dict(result_to_json(made, self.version)))

    def add(self, **options: Unpack[CallOptions]) -> Outcome:
        """Return the outcome of ADD, after the plugins before this one."""
        ready = self.prepared()
        return ready.call(Verb.ADD, result=ready.previous, **options)

    def attached(self) -> dict[str, Any]:
        """Return the result of an ADD without which the clause cannot be tried."""
        outcome = self.add()
        if not outcome.succeeded:
            not_applicable(f"it takes an ADD that works, and this one fails: {outcome}")
        return outcome.expect_result()

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
        """Return what `ip` tells of each netdev in the pod, with its addresses."""
        return {link["ifname"]: link for link in self.pod.ip_json("address show")}

    def _before(self) -> PluginList:
        subject = self.stage.subject
        name = parse_network_name(str(subject.config["name"]))
        return PluginList(name, self.version, subject.before)

    def _wanted(self) -> Wanted:
        id = AttachmentId(parse_container_id(self.id), parse_ifname(self.ifname))
        return Wanted(id, self.pod.netns)

    def _execute(self) -> Any:
        subject = self.stage.subject
        return executor(self.stage.node, subject.dirs, timeout_s=subject.timeout_s)


def changes(before: Dump, after: Dump) -> list[str]:
    """Return what became of the things that were there before, while others may have come."""
    known = before.subjects.keys() & after.subjects.keys()
    return differences(before, Dump({subject: after.subjects[subject] for subject in known}))


def valid_attachments(*containers: Container) -> dict[str, list[dict[str, str]]]:
    """Return the key of GC's configuration that lists which attachments are valid."""
    listed = [{"containerID": one.id, "ifname": one.ifname} for one in containers]
    return {"cni.dev/valid-attachments": listed}


def build(node: Node, subject: Subject, supported: tuple[str, ...]) -> Stage:
    """Return a stage on a node that has nothing yet."""
    for family in ("ipv4", "ipv6"):
        node.sysctl(f"net/{family}/conf/all/forwarding", 1)
    for number in range(1, NICS + 1):
        ifname = ifname_of(number)
        node.add_nic(bdf_of(number), ifname, [f"10.0.{number}.0/31", f"fd00:0:0:{number}::8/64"])
        node.ip(f"route add 192.0.{number}.0/24 via 10.0.{number}.1 dev {ifname}")
    return Stage(node, subject, supported)
