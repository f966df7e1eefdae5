"""`amdcni attachments`: the records of the state folder, for a person or as JSON."""

import argparse
import os
from typing import IO, Any

import attrs

from amdcni.cli.printing import print_json
from amdcni.core.attachment import Attachment
from amdcni.core.errors import DamagedRecord, StateTooNew
from amdcni.effects import netns
from amdcni.effects.store import Store


@attrs.frozen
class Row:
    """A record as it is shown; or, with `fault`, a file that could not be read as one."""

    device: str
    container_id: str = ""
    ifname: str = ""
    netns: str = ""
    netns_alive: bool = False
    network: str = ""
    phase: str = ""
    since: str = ""
    host_ifname: str | None = None
    host_addresses: tuple[str, ...] = ()
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The row as JSON, keys spelled as here."""
        return attrs.asdict(self)


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Show the records; 1 if one could not be read."""
    rows = read_rows(options.data_dir)
    if options.json:
        print_json([row.as_json() for row in rows], stdout)
    else:
        print_table(rows, options.data_dir, stdout)
    return 1 if any(row.fault for row in rows) else 0


def read_rows(data_dir: str) -> list[Row]:
    """A row for each record in `data_dir`; nothing is changed there.

    Raises: StateFailure if the folder cannot be read.
    """
    store = Store(data_dir, report=lambda *_, **__: None)
    rows = []
    for key in store.device_keys():
        try:
            record = store.read(key)
        except (DamagedRecord, StateTooNew) as failure:
            rows.append(Row(str(key), fault=failure.message))
            continue
        if record is not None:
            rows.append(_row(record))
    return rows


def _row(record: Attachment) -> Row:
    captured = record.captured
    return Row(
        device=str(record.key),
        container_id=record.id.container_id,
        ifname=record.id.ifname,
        netns=record.netns.path,
        netns_alive=_is_alive(record),
        network=record.network,
        phase=record.phase.value,
        since=record.since,
        host_ifname=record.host_ifname,
        host_addresses=tuple(str(a.interface) for a in captured.addresses) if captured else (),
    )


def _is_alive(record: Attachment) -> bool:
    fd = netns.open_netns(record.netns.path)
    if fd is None:
        return False
    try:
        return netns.netns_id(fd) == record.netns.id
    finally:
        os.close(fd)


def print_table(rows: list[Row], data_dir: str, stdout: IO[str]) -> None:
    """Print the rows as a table, or one sentence if there are none."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stdout)
    if not rows:
        console.print(f"No NIC is lent to a pod ({data_dir}).", highlight=False)
        return
    table = Table(title="NICs lent to pods", title_justify="left")
    table.add_column("device", no_wrap=True)
    for heading in ("in the pod", "container", "since", "state"):
        table.add_column(heading, overflow="fold")
    table.add_column("given back as", no_wrap=True)
    for row in rows:
        table.add_row(
            row.device,
            f"{row.ifname}\n{row.netns}",
            f"{row.container_id[:13]}\n{row.network}",
            row.since,
            row.fault or _state(row),
            "\n".join([row.host_ifname or "(no netdev)", *row.host_addresses]),
        )
    console.print(table)


def _state(row: Row) -> str:
    return row.phase if row.netns_alive else f"{row.phase}, pod gone"
