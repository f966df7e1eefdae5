"""The metrics of the agent, as OpenMetrics text; loaded only by the reporting process."""

from collections.abc import Mapping
from typing import Final, assert_never

from prometheus_client.metrics import Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from amdcni.core.condition import Condition
from amdcni_agent.messages import (
    AgentState,
    Attachments,
    CallEnded,
    Counted,
    Healed,
    Lost,
    NotHealed,
    NotRestored,
    Reattached,
    What,
)

CONTENT_TYPE: Final[str] = CONTENT_TYPE_LATEST

NONE: Final = "none"
"""The value of a label where a call has none, or it is not known."""

BUCKETS_S: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)


class Metrics:
    """What scrapers read, counted from messages.

    Where a label can have few values only, all of them are there from the start: Prometheus sees
    no increase in a series that appears with its first event.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._describe_calls(self.registry)
        self._describe_attachments(self.registry)
        self._describe_agent(self.registry)

    def _describe_calls(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "amdcni_calls",
            "Calls that have ended.",
            ("verb", "mover", "outcome"),
            registry=registry,
        )
        self._durations = Histogram(
            "amdcni_call_duration_seconds",
            "How long a worker was busy with a call.",
            ("verb",),
            buckets=BUCKETS_S,
            unit="seconds",
            registry=registry,
        )
        self._queueing = Histogram(
            "amdcni_call_queue_seconds",
            "How long a call waited for a worker.",
            buckets=BUCKETS_S,
            unit="seconds",
            registry=registry,
        )

    def _describe_attachments(self, registry: CollectorRegistry) -> None:
        self._attachments = Gauge(
            "amdcni_attachments",
            "Attachments on this node.",
            ("condition",),
            registry=registry,
        )
        self._damaged = Gauge(
            "amdcni_damaged_records",
            "Records that were found damaged and set aside.",
            registry=registry,
        )
        self._healed = Counter(
            "amdcni_healed",
            "Attachments that were healed, by the condition in which they were found.",
            ("condition",),
            registry=registry,
        )
        for condition in Condition:
            self._attachments.labels(condition)
            self._healed.labels(condition)
        self._not_healed = Counter(
            "amdcni_not_healed", "Attempts to heal that have failed.", registry=registry
        )
        self._not_restored = Counter(
            "amdcni_not_restored",
            "What could not be restored of netdevs that are on the host again.",
            ("what",),
            registry=registry,
        )
        for what in What:
            self._not_restored.labels(what)
        self._reattached = Counter(
            "amdcni_reattached",
            "Devices that came back bare and were put back into their pods.",
            registry=registry,
        )

    def _describe_agent(self, registry: CollectorRegistry) -> None:
        self._workers = Gauge("amdcni_workers", "Worker processes.", ("state",), registry=registry)
        for state in ("idle", "busy"):
            self._workers.labels(state)
        self._waiting = Gauge(
            "amdcni_calls_waiting", "Calls that wait for a worker.", registry=registry
        )
        self._serving = Gauge(
            "amdcni_agent_serving", "1 if this agent serves calls, otherwise 0.", registry=registry
        )
        self._age = Gauge(
            "amdcni_agent_heartbeat_age_seconds",
            "How long ago the main process last gave a sign of life.",
            unit="seconds",
            registry=registry,
        )
        self._lost = Counter(
            "amdcni_messages_dropped",
            "Messages to the reporting process that were dropped: the other counts are too low.",
            registry=registry,
        )
        self._posted = Counter(
            "amdcni_events_posted",
            "Requests about Kubernetes events that the API server has accepted.",
            registry=registry,
        )
        self._dropped = Counter(
            "amdcni_events_dropped",
            "Kubernetes events that are not posted: too many, or the API server refuses them.",
            registry=registry,
        )
        self._about = Info("amdcni_agent", "The agent.", registry=registry)
        self._about.info({"version": ""})

    def take(self, message: Counted) -> None:
        """Count what the message says."""
        match message:
            case CallEnded():
                self._count(message)
            case Attachments(by_condition, damaged):
                self._set_attachments(by_condition)
                self._damaged.set(damaged)
            case Healed(condition):
                self._healed.labels(condition).inc()
            case NotHealed():
                self._not_healed.inc()
            case NotRestored(what):
                self._not_restored.labels(what).inc()
            case Reattached():
                self._reattached.inc()
            case AgentState():
                self._set_state(message)
            case Lost(count):
                self._lost.inc(count)
            case _:
                assert_never(message)

    def _count(self, call: CallEnded) -> None:
        verb = call.verb or NONE
        self._calls.labels(verb, call.mover or NONE, call.outcome).inc()
        self._queueing.observe(call.queued_s)
        if call.lasted_s is not None:
            self._durations.labels(verb).observe(call.lasted_s)

    def _set_attachments(self, by_condition: Mapping[Condition, int]) -> None:
        for condition in Condition:
            self._attachments.labels(condition).set(by_condition.get(condition, 0))

    def _set_state(self, state: AgentState) -> None:
        self._workers.labels("idle").set(state.idle_workers)
        self._workers.labels("busy").set(state.busy_workers)
        self._waiting.set(state.waiting_calls)
        self._serving.set(state.is_serving)
        self._about.info({"version": state.version})

    def take_events(self, posted: int, dropped: int) -> None:
        """Count more Kubernetes events, by what has become of them."""
        self._posted.inc(posted)
        self._dropped.inc(dropped)

    def text(self, age_s: float) -> bytes:
        """Everything as OpenMetrics text; `age_s` is how old the last sign of life is."""
        self._age.set(age_s)
        text: bytes = generate_latest(self.registry)  # type: ignore[no-untyped-call]
        return text
