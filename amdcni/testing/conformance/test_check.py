"""CHECK: whether all is as ADD said (CNI SPEC 1.1 §2, CHECK)."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from amdcni.core.spec import Verb
from amdcni.testing.conformance import delegates
from amdcni.testing.conformance.answers import require_failure, require_silence, require_success
from amdcni.testing.conformance.clauses import Level, clause, not_applicable
from amdcni.testing.conformance.delegates import Recorder
from amdcni.testing.conformance.shapes import entries_of
from amdcni.testing.conformance.stage import Container, Stage
from amdcni.testing.conformance.views import addresses_on, routes_in


def _attached(stage: Stage) -> tuple[Container, Mapping[str, Any]]:
    """A container that is attached in a version that has CHECK, and the result."""
    container = stage.container().able_to(Verb.CHECK)
    return container, container.attached()


def _checked(container: Container) -> Mapping[str, Any]:
    """The result of attaching a container, with which CHECK succeeds so far."""
    result = container.attached()
    outcome = container.call(Verb.CHECK, result=result)
    if not outcome.succeeded:
        not_applicable(f"it needs a CHECK that works, and this one fails: {outcome}")
    return result


@clause(
    "§2 CHECK",
    Verb.CHECK,
    says='It must handle "being called immediately after an ADD"',
)
def test_check_succeeds_right_after_add(stage: Stage) -> None:
    container, result = _attached(stage)
    require_success(container.call(Verb.CHECK, result=result))


@clause(
    "§2 CHECK, §5 Success",
    Verb.CHECK,
    says='For a route without `gw`, "a value in gateway in the ips array may be used"',
)
def test_check_succeeds_for_a_route_by_the_gateway_of_the_address(
    stage: Stage, recorder: Recorder
) -> None:
    if not stage.subject.delegates_ipam:
        not_applicable("the configuration names no IPAM plugin")
    routes = [{"dst": delegates.ROUTE["dst"]}]
    container = recorder.serving(stage.container().able_to(Verb.CHECK), routes)
    result = container.attached()
    require_success(container.call(Verb.CHECK, result=result))


@clause(
    "§2 CHECK",
    Verb.CHECK,
    Level.SHOULD,
    says='It "must return either nothing or an error", but no runtime looks at what it prints',
)
def test_a_check_that_succeeds_is_silent(stage: Stage) -> None:
    container, result = _attached(stage)
    require_silence(container.call(Verb.CHECK, result=result))


@clause(
    "§2 CHECK",
    Verb.CHECK,
    Level.SHOULD,
    says='A resource that the plugin created, in `prevResult`, is "missing or in an invalid state"',
)
def test_check_fails_if_the_interface_is_missing(stage: Stage) -> None:
    stage.needs_a_maker()
    container = stage.container().able_to(Verb.CHECK)
    result = _checked(container)
    container.pod.ip_batch(
        [f"link set {container.ifname} down", f"link set {container.ifname} name x0"]
    )
    require_failure(container.call(Verb.CHECK, result=result))


@clause(
    "§2 CHECK",
    Verb.CHECK,
    Level.SHOULD,
    says='An address is among the resources "included in the CNI Result type"',
)
def test_check_fails_if_an_address_is_missing(stage: Stage, recorder: Recorder) -> None:
    stage.needs_a_maker()
    # Routes would go with the address.
    container = recorder.serving(stage.container().able_to(Verb.CHECK), routes=())
    result = _checked(container)
    listed = {
        str(ipaddress.ip_interface(ip["address"]))
        for ip in entries_of(result, "ips")
        if _points_to(container, result, ip)
    }
    lost = listed & addresses_on(container.links()[container.ifname])
    container.pod.ip(f"address flush dev {container.ifname} scope global")
    if not lost - addresses_on(container.links()[container.ifname]):
        not_applicable("the result has no address of the interface that can be removed")
    require_failure(container.call(Verb.CHECK, result=result))


def _points_to(container: Container, result: Mapping[str, Any], ip: Mapping[str, Any]) -> bool:
    """Whether the result says of an address that it is on the interface of the container."""
    interfaces, index = entries_of(result, "interfaces"), ip.get("interface")
    if not isinstance(index, int) or not 0 <= index < len(interfaces):
        return False
    wanted = (container.ifname, container.pod.netns)
    return (interfaces[index].get("name"), interfaces[index].get("sandbox")) == wanted


@clause(
    "§2 CHECK",
    Verb.CHECK,
    Level.SHOULD,
    says='A route is among the resources "included in the CNI Result type"',
)
def test_check_fails_if_a_route_is_missing(stage: Stage, recorder: Recorder) -> None:
    stage.needs_a_maker()
    # The IPAM plugin of the configuration may give no route.
    container = recorder.serving(stage.container().able_to(Verb.CHECK))
    result = _checked(container)
    present = set(routes_in(container.pod))
    listed = {str(ipaddress.ip_network(entry["dst"])) for entry in entries_of(result, "routes")}
    lost = [route for route in present if route.dst in listed]
    if not lost:
        not_applicable("the result has no route that can be removed")
    container.pod.ip_batch([f"route delete {route.dst} table {route.table}" for route in lost])
    require_failure(container.call(Verb.CHECK, result=result))


@clause(
    "§2 CHECK",
    Verb.CHECK,
    says='It "must allow for a later chained plugin to have modified networking resources"',
)
def test_check_allows_for_what_a_later_plugin_has_changed(stage: Stage) -> None:
    stage.needs_an_interface()
    container = stage.container().able_to(Verb.CHECK)
    result = _checked(container)
    container.pod.ip("route add unreachable 203.0.113.0/24 table 77")
    container.pod.ip("rule add from 203.0.113.0/24 table 77")
    require_success(container.call(Verb.CHECK, result=result))
