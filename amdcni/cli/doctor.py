"""`amdcni doctor`: whether this node has everything that lending a NIC needs, and what to do."""

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any, Final

import attrs

from amdcni.cli.columns import Tone, painted
from amdcni.cli.devices import find_records, see
from amdcni.cli.examining import (
    BinDirs,
    bin_dirs_of,
    examine_checkpoint,
    examine_lost,
    examine_state,
    own_executable,
    state_folders,
)
from amdcni.cli.node import on_this_node_silently
from amdcni.cli.printing import (
    for_programs,
    is_coloured,
    print_line,
    print_sentence,
    print_value,
)
from amdcni.core import diagnosis
from amdcni.core.calls import plugins_for
from amdcni.core.diagnosis import Finding, Subject, Verdict
from amdcni.core.errors import AmdcniError, InvalidManifest, NotAvailable, StateFailure
from amdcni.core.kubernetes import parse_definition
from amdcni.core.kubernetes.installation import configurations_in, networks_dir_of
from amdcni.core.kubernetes.review import LENDER, Review, review
from amdcni.core.nics import Records, together
from amdcni.core.policy import Policy
from amdcni.core.request import DEFAULT_DATA_DIR, Mover, plugin_dirs_of
from amdcni.core.spec import Json
from amdcni.effects import survey
from amdcni.effects.nics import read_nics
from amdcni.effects.node import effective_capabilities
from amdcni.effects.policy import find_policy
from amdcni.manifests import read_manifests
from amdcni.ports import OpenNode
from amdcni.verbs import healing
from amdcni_agent.asking import ask, find_listener
from amdcni_shim.client import SOCKET_PATH


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Report on everything that an ADD needs on this node; 1 if something has failed."""
    findings = tuple(examine(options))
    if for_programs(options):
        print_value([as_json(finding) for finding in findings], options, stdout)
    else:
        print_findings(findings, stdout)
    return 1 if any(finding.verdict is Verdict.FAILED for finding in findings) else 0


@attrs.frozen
class State:
    """A state folder: `records` is None if only root may read them, or because of a `fault`.

    `ignored` says what cannot be read in the Go plugin's file.
    """

    data_dir: str
    node: OpenNode
    records: Records | None = None
    fault: str | None = None
    ignored: tuple[str, ...] = ()


def examine(options: argparse.Namespace) -> Iterator[Finding]:
    """Every finding, in the order in which an ADD would come to need it."""
    root = os.geteuid() == 0
    policy = find_policy()
    conf_dir = survey.read_conf_dir(options.cni_conf_dir)
    networks = configurations_in(survey.read_conf_dir(networks_dir_of(conf_dir)))
    reviewed = tuple(_reviews(options.files, networks, policy))
    reviews = [each for _, each in reviewed if isinstance(each, Review)]
    named = [data_dir for each in reviews for data_dir in each.data_dirs]
    folders = state_folders(options.data_dir)
    with ExitStack() as opened:
        states = [
            _read_state(data_dir, opened) for data_dir in dict.fromkeys((*folders.there, *named))
        ]
        yield from diagnosis.judge_privileges(effective_capabilities(), root=root)
        yield diagnosis.judge_sysfs(
            has_netdevs=os.path.isdir("/sys/class/net"),
            has_pci=os.path.isdir("/sys/bus/pci/devices"),
        )
        yield from _nics(states, policy)
        yield diagnosis.judge_multus(conf_dir)
        yield from _plugins(bin_dirs_of(options, conf_dir), reviews)
        yield from _networks(reviewed, options.files)
        yield _agent()
        for state in states:
            yield examine_state(state.data_dir, policy)
            yield from judge_records(state)
        yield from examine_lost(folders)


def _read_state(data_dir: str, opened: ExitStack) -> State:
    ignored: list[str] = []

    def report(event: str, **facts: object) -> None:
        if event == "mappings-ignored":
            ignored.append(f"{facts['path']}: {facts['reason']}")

    node = opened.enter_context(on_this_node_silently(data_dir, report=report, alone=True))
    try:
        return State(data_dir, node, find_records(node, data_dir), ignored=tuple(ignored))
    except StateFailure as failure:
        return State(data_dir, node, fault=failure.message)


def _agent() -> Finding:
    try:
        about = ask(os.fsdecode(SOCKET_PATH))
    except NotAvailable:
        return diagnosis.judge_agent(None, hidden=True)
    if about is None:
        return diagnosis.judge_agent(None, silent=find_listener(os.fsdecode(SOCKET_PATH)))
    return diagnosis.judge_agent(about["pid"])


def _nics(states: Sequence[State], policy: Policy | None) -> Iterator[Finding]:
    """The NICs, those that look lost as no folder has a record of them, and what may be lent."""
    known = [state.records for state in states if state.records is not None]
    records = together(known) if len(known) == len(states) else None
    node, nics = states[0].node, None
    try:
        nics, mode = see(node, read_nics(), records, policy or Policy()), node.rdma().mode
    except AmdcniError as failure:
        yield diagnosis.not_known(Subject.NICS, failure.message, "is netlink forbidden here?")
    else:
        yield diagnosis.judge_nics(nics)
        yield from diagnosis.judge_rdma(mode)
        yield from diagnosis.judge_lost(nics)
    yield diagnosis.judge_policy(policy, nics)
    yield from examine_checkpoint(policy, node)


def _plugins(bin_dirs: BinDirs, reviews: Iterable[Review]) -> Iterator[Finding]:
    """The plugins that the definitions need, or without any, those that a plain one needs."""
    for path in bin_dirs.folders:
        yield diagnosis.judge_bin_dir(path, exists=os.path.isdir(path))
    dirs = plugin_dirs_of({"CNI_PATH": bin_dirs.path})
    plain = Review(lends=True, plugins=plugins_for(Mover.DELEGATE, None))
    judged = list(reviews) or [plain]
    needed = [name for each in judged for name in each.plugins]
    chained = [name for each in judged for name in each.chained]
    # Multus looks only in its binDir, amd-host-device also where distributions install plugins.
    own = dict.fromkeys((LENDER, *chained), bin_dirs.folders)
    places = {**dict.fromkeys(needed, dirs), **own}
    for name, where in places.items():
        plugin = survey.ask_plugin(name, where, os.environ)
        yield diagnosis.judge_plugin(plugin, own_executable())


_Reviewed = tuple[str, Review | str]
"""Where a definition stands, and what an ADD would make of it, or why it cannot be read."""


def _reviews(
    files: Iterable[str], networks: Mapping[str, Json], policy: Policy | None
) -> Iterator[_Reviewed]:
    for path in files:
        try:
            manifests = read_manifests([path])
        except InvalidManifest as fault:
            yield path, fault.message
            continue
        for _, manifest in manifests:
            if manifest.get("kind") == "NetworkAttachmentDefinition":
                yield _review(path, manifest, networks, policy)


def _review(
    path: str, manifest: Json, networks: Mapping[str, Json], policy: Policy | None
) -> _Reviewed:
    try:
        definition = parse_definition(manifest, networks)
    except InvalidManifest as fault:
        return path, f"{path}: {fault.message}"
    return f"{path}: {definition.id}", review(definition, policy)


def _networks(reviews: Iterable[_Reviewed], files: Iterable[str]) -> Iterator[Finding]:
    judged = list(reviews)
    for where, reviewed in judged:
        if isinstance(reviewed, Review):
            yield from diagnosis.judge_definition(where, reviewed)
        else:
            yield diagnosis.failed(Subject.NETWORKS, reviewed, "correct the manifest")
    if not judged and files:
        says = f"{', '.join(files)}: no NetworkAttachmentDefinition found"
        yield diagnosis.failed(Subject.NETWORKS, says, "name the files that contain some")


def judge_records(state: State) -> Iterator[Finding]:
    """Every finding about what is in a state folder."""
    node, records, data_dir = state.node, state.records, state.data_dir
    if state.fault is not None:
        yield diagnosis.failed(Subject.RECORDS, state.fault, "check the disk")
        return
    if records is None:
        says = "only root can see who holds a NIC"
        yield diagnosis.not_known(Subject.RECORDS, says, "run amdcni doctor as root")
        return
    heal = "amdcni heal" + ("" if data_dir == DEFAULT_DATA_DIR else f" --data-dir {data_dir}")
    aside = [path for _, path in node.store.set_aside()]
    if records.knows_none and not (aside or state.ignored):
        yield diagnosis.passed(Subject.RECORDS, f"no NIC is lent to a pod ({data_dir})")
    yield from diagnosis.judge_lent_by_go(records.lent_by_go)
    yield from diagnosis.judge_ignored_mappings(state.ignored)
    yield from diagnosis.judge_faults(records)
    yield from diagnosis.judge_set_aside(aside)
    try:
        for found in healing.look_at(records.read, node):
            file = f"{data_dir}/{found.record.key}.json"
            yield diagnosis.judge_record(found.record, found.seen, heal=heal, file=file)
    except AmdcniError as failure:
        yield diagnosis.not_known(Subject.RECORDS, failure.message, "run amdcni doctor as root")


def as_json(finding: Finding) -> dict[str, Any]:
    """A finding for programs."""
    return {
        "subject": finding.subject.value,
        "verdict": finding.verdict.value,
        "says": finding.says,
        "remedy": finding.remedy,
    }


def print_findings(findings: tuple[Finding, ...], stdout: IO[str]) -> None:
    """Print each finding with its remedy, and how many there are of each verdict."""
    coloured = is_coloured(stdout)
    for finding in findings:
        word = painted(finding.verdict, _TONES[finding.verdict] if coloured else None)
        stdout.write(word + " " * (_INDENT - len(finding.verdict)))
        print_sentence(f"{finding.subject}: {finding.says}", stdout, indent=_INDENT)
        if finding.remedy is not None:
            # A command in it can be copied, so it is not broken into lines.
            print_line(f"{'':{_INDENT}}→ {finding.remedy}", stdout)
    counts = [sum(each.verdict is verdict for each in findings) for verdict in Verdict]
    print_line(
        ", ".join(f"{n} {verdict}" for n, verdict in zip(counts, Verdict, strict=True)), stdout
    )


_INDENT: Final = 10

_TONES: Final = {
    Verdict.PASSED: Tone.GOOD,
    Verdict.FAILED: Tone.BAD,
    Verdict.UNKNOWN: Tone.CHANGING,
}
