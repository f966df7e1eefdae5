"""Calls of the plugin as bytes, which is all that a fuzzer knows, and how it mutates them.

The bytes are an environment block in the kernel's format (`NAME=value`, each ended by a zero), one
more zero, and standard input.  Besides CNI_* variables the block may say

    HELD=1   before the call, the first NIC is lent to an attachment of the harness
    TIMES=n  every second part of stdin, between two bytes 0x1E, is repeated n times

so that a few bytes can make the largest configuration.  Any bytes are a call.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

from attrs import evolve, frozen

LARGEST_STDIN_BYTES: Final = 1024 * 1024 + 2
"""One byte more than the plugin reads to detect that stdin is too long."""

_REPEATED: Final = b"\x1e"
_RECORDED: Final = Path(__file__).parents[1] / "unit/data/runtime-inputs"


@frozen
class Input:
    """A call: CNI_* variables, stdin as the fuzzer writes it, and what happens before."""

    environ: Mapping[str, str]
    stdin: bytes
    held: bool = False
    times: int = 1

    @property
    def configuration(self) -> bytes:
        """What the plugin reads on its standard input."""
        parts = self.stdin.split(_REPEATED)
        longest = max((len(part) for part in parts[1::2]), default=0)
        times = min(self.times, LARGEST_STDIN_BYTES // max(longest, 1) + 1)
        repeated = (part * times if at % 2 else part for at, part in enumerate(parts))
        return b"".join(repeated)[:LARGEST_STDIN_BYTES]

    @property
    def json(self) -> dict[str, Any] | None:
        """The configuration if it is a JSON object, otherwise None."""
        try:
            value = json.loads(self.configuration)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def parse(data: bytes) -> Input:
    """Return the call that these bytes stand for; any bytes are one."""
    block, _, stdin = data.partition(b"\0\0")
    entries = [entry.partition(b"=") for entry in block.split(b"\0") if entry]
    said = {os.fsdecode(name): os.fsdecode(value) for name, _, value in entries}
    times = said.get("TIMES", "")
    return Input(
        {name: value for name, value in said.items() if name.startswith("CNI_")},
        stdin,
        held=said.get("HELD") == "1",
        times=int(times) if times.isascii() and times.isdecimal() and len(times) < 8 else 1,
    )


def encode(call: Input) -> bytes:
    """Return the bytes of a call, from which `parse` makes the same call."""
    said = [f"{name}={value}" for name, value in call.environ.items()]
    said += ["HELD=1"] if call.held else []
    said += [f"TIMES={call.times}"] if call.times != 1 else []
    return b"".join(os.fsencode(entry) + b"\0" for entry in said or ["-"]) + b"\0" + call.stdin


# ---- seeds -------------------------------------------------------------------------------------

FIRST, SECOND, USERSPACE = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"
"""The node's PCI functions: two NICs, as in the recordings, and one of vfio-pci."""

ENVIRON: Final = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "pod1",
    "CNI_NETNS": "/run/netns/pod1",
    "CNI_IFNAME": "net1",
    "CNI_PATH": "/opt/cni/bin",
}
CONFIG: Final = {
    "cniVersion": "1.1.0",
    "name": "fabric",
    "type": "amd-host-device",
    "deviceID": FIRST,
}
VERBS: Final = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
VERSIONS: Final = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

STATIC: Final = {"type": "static", "addresses": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}]}
HOST_LOCAL: Final = {"type": "host-local", "ranges": [[{"subnet": "10.8.0.0/24"}]]}
RESULT: Final = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/pod1"}],
    "ips": [{"address": "192.168.1.8/31", "gateway": "192.168.1.9", "interface": 0}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "192.168.1.9"}],
    "dns": {"nameservers": ["192.0.2.1"]},
}
OLD_RESULT: Final = {
    "cniVersion": "0.2.0",
    "ip4": {"ip": "192.168.1.8/31", "gateway": "192.168.1.9", "routes": [{"dst": "10.0.0.0/8"}]},
    "ip6": {"ip": "2001:db8:1::8/64"},
}
VALID: Final = [{"containerID": "pod1", "ifname": "net1"}]


def called(verb: str = "ADD", held: bool = False, **config: Any) -> Input:
    """Return a call with a valid configuration, changed by `config`, where None removes a key."""
    members = {name: value for name, value in {**CONFIG, **config}.items() if value is not None}
    return Input({**ENVIRON, "CNI_COMMAND": verb}, json.dumps(members).encode(), held)


def repeated(before: str, part: str, after: str, verb: str = "ADD", held: bool = False) -> Input:
    """Return a call whose configuration has the maximum length because one part is repeated."""
    stdin = _REPEATED.join(text.encode() for text in (before, part, after))
    room = LARGEST_STDIN_BYTES - 2 - len(before + after)
    return evolve(called(verb, held), stdin=stdin, times=room // len(part.encode()))


def recorded() -> Iterator[Input]:
    """Yield the calls that real runtimes have sent."""
    for path in sorted(_RECORDED.glob("*.json")):
        for call in json.loads(path.read_bytes()):
            if isinstance(call, dict) and "stdin" in call:
                yield Input(call["env"], call["stdin"].encode())


def seeds() -> Iterator[Input]:
    """Yield the calls to begin with, which take each way through the plugin once."""
    yield from recorded()
    yield Input({}, b"")
    yield Input({"CNI_COMMAND": "VERSION"}, b"")
    for version in VERSIONS:
        for verb in VERBS:
            yield called(verb, held=verb != "ADD", cniVersion=version, mover="native")
    for verb in ("CHECK", "DEL"):
        yield called(verb, held=True, prevResult=RESULT)
        yield called(verb, held=True, cniVersion="0.4.0", prevResult={**RESULT, "cniVersion": ""})
    yield called("DEL", cniVersion="0.2.0", prevResult=OLD_RESULT)
    for valid in ([], VALID, None):
        yield called("GC", held=True, **{"cni.dev/valid-attachments": valid})
    for mover in ("native", "delegate"):
        for ipam in (STATIC, HOST_LOCAL, {}):
            yield called(mover=mover, ipam=ipam, copyRoutes=True)
    yield called("STATUS", ipam=HOST_LOCAL)
    yield called(mover="native", mtu=1400, runtimeConfig={"mac": "02:00:00:00:00:77"})
    for key, value in (
        ("device", "enp1s0"),
        ("hwaddr", "02:00:00:00:00:01"),
        ("kernelpath", f"/sys/devices/pci0000:01/{FIRST}"),
        ("pciBusID", USERSPACE),
    ):
        yield called("ADD", False, mover="native", deviceID=None, **{key: value})
    ours: dict[str, Any] = {
        "dataDir": "/run/amd-host-device/state",
        "logFile": "/run/amd-host-device.log",
    }
    yield called(logLevel="debug", mover="native", **ours)
    yield called(mover="native", ipam={**HOST_LOCAL, "dataDir": "/run/cni/networks"})
    yield from misleading()
    yield from enormous()


def misleading() -> Iterator[Input]:
    """Yield the calls that would make root write where it may not, each with its own key."""
    for path in ("/tmp/state", "/run/amd-host-device/../x", "/run/amd-host-device-link/x"):
        for verb in ("ADD", "DEL", "GC"):
            for keys in (
                {"dataDir": path},
                {"logFile": path, "logLevel": "debug"},
                {"ipam": {**HOST_LOCAL, "DataDir": path}},
            ):
                valid: dict[str, Any] = {"cni.dev/valid-attachments": []} if verb == "GC" else {}
                yield called(verb, held=verb == "DEL", mover="native", **keys, **valid)
    for path in ("/run/amd-host-device-fifo", "/run/amd-host-device/" + "a/" * 1900 + "a"):
        yield called(logFile=path, logLevel="debug", mover="native")
        yield called(dataDir=path, mover="native")


def enormous() -> Iterator[Input]:
    """Yield the calls that take the most memory and time for their size."""
    named = '{"cniVersion":"1.1.0","name":"fabric",'
    for part in ("[],", '{"":0},', '"\U0001f600",'):
        yield repeated(named + '"a":[', part, "0]}")
        yield repeated('{"name":[', part, "0]}", "DEL")
    yield repeated(named + '"deviceID":"', "a", '"}')
    yield repeated(named + '"cni.dev/valid-attachments":[', "{},", "{}]}", "GC")
    for part in ('{"a":1}', '{"address":"1.2.3.4/8"}'):
        begin = f'{named}"deviceID":"{FIRST}","prevResult":{{"cniVersion":"1.1.0","ips":['
        yield repeated(begin, part + ",", part + "]}}", "CHECK", held=True)
    yield evolve(repeated("", '{"a":', "1}"), times=90)
    yield evolve(repeated("", "[", "]"), times=LARGEST_STDIN_BYTES)


FOUND: Final = (
    called(mover="native", ipam=HOST_LOCAL, prevResult="/run/fifo"),
    called(mover="native", ipam={**HOST_LOCAL, "ranges": RESULT}),
    called(mover="native", dataDir="/etc"),
    called(logFile="/proc/1/ns/net"),
    called(mover="native", ipam={"type": "host-device", "addresses": [{}]}, copyRoutes=True),
    called(mover="native", addrGenMode="kernel", copySysctls=True),
    called(deviceID=USERSPACE, ipam={**HOST_LOCAL, "ranges": "fe80::1%lo"}, cniVersion="0.2.0"),
    called(deviceID=USERSPACE, type={"a": "amd-host-device"}, ipam=HOST_LOCAL),
)
"""Inputs that the fuzzer has found, which are tried again in every run."""


# ---- mutation ----------------------------------------------------------------------------------

Mutate = Callable[[bytes, int], bytes]
"""The fuzzer's own mutation of bytes, up to a maximum size."""

_PATHS: Final = (
    *("/tmp/state", "/var/lib/cni/amd-host-device", "/etc", "/proc/self", "/dev/null", "/dev/full"),
    *("/run/netns/pod1", "/run/netns/pod2", "/proc/self/ns/net", "/proc/1/ns/net", "/run/fifo"),
    *("/proc/self/ns/mnt", "/tmp/notes", "/tmp/notes/x", "/sys/devices", "/", "//", "/tmp/../run"),
    *("/var/lib/cni/amd-host-device/0000:01:00.0.json", "/opt/cni/bin", "/usr/bin", "/proc/kmsg"),
    *("/var/lib/cni/amd-host-device/locks/0000:01:00.0", "/sys/devices/pci0000:01/0000:01:00.0"),
    *("/run/amd-host-device", "/run/amd-host-device/a/b", "/run/amd-host-device-link/x"),
    *("/run/amd-host-device-fifo", "/run/amd-host-device/../x", "/run/amd-host-device//x"),
    *(
        "/var/lib/cni/networks",
        "/run/cni/networks/x",
        "/etc/amdcni/policy.json",
        "/run/cni/dhcp.sock",
    ),
    *("/var/lib/cni/amd-host-device/.probe.tmp", "/var/lib/cni/amd-host-device-x/a.b.1.json/x"),
)
_NAMES: Final = (
    *("enp1s0", "enp2s0", "net1", "lo", "pod1", "fabric", "all", "default", "a", "-", ".", ""),
    *("host-device", "static", "host-local", "sh", "rm", "exe", "native", "delegate", "debug"),
    *("é", "x" * 15, "x" * 16, "x" * 300, "%d", "a\nb", "a\0b", "\ud800", "\u202e", "0", "true"),
)
_ADDRESSES: Final = (
    *("192.168.1.8/31", "2001:db8:1::8/64", "10.0.0.1", "0.0.0.0/0", "::/0", "fe80::1%lo", "::1"),
    *("02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "1.2.3.4/33", "fe80::1/64"),
)
_DEVICE_IDS: Final = (FIRST, SECOND, USERSPACE, "0000:01:00.0\n", "mlx5_core.sf.4", "01:00.0", "..")
_HOSTILE: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 1.5, -0.0, 1e308, "", [], {}, [[]], [{}]),
    *(RESULT, OLD_RESULT, STATIC, HOST_LOCAL, VALID, {"type": "sh"}, {"deviceID": SECOND}),
)
_POOL: Final = (*_PATHS, *_NAMES, *_ADDRESSES, *_DEVICE_IDS, *VERSIONS, *_HOSTILE)

_KEYS: Final = (
    *("cniVersion", "name", "type", "deviceID", "pciBusID", "runtimeConfig", "device", "hwaddr"),
    *("kernelpath", "ipam", "mover", "copyRoutes", "mtu", "mac", "dns", "args", "prevResult"),
    *("addrGenMode", "copySysctls", "moveRdma"),
    *("cni.dev/valid-attachments", "logLevel", "logFile", "dataDir", "capabilities", "cni.dev/x"),
    *("addresses", "address", "gateway", "routes", "dst", "gw", "ips", "interfaces", "interface"),
    *("sandbox", "ip4", "ip6", "ip", "ranges", "subnet", "nameservers", "containerID", "ifname"),
    *("log_file", "DataDir", "logfile", "LOGFILE", "daemonSocketPath", "Ipam", "IPAM"),
    *("priority", "scope", "table", "advmss", "version", "DEVICEID", "datadir", "", "\ud800"),
)
_LIKELY: Final[dict[str, tuple[Any, ...]]] = {
    **dict.fromkeys(("logFile", "dataDir", "kernelpath", "sandbox"), _PATHS),
    **dict.fromkeys(("log_file", "DataDir", "logfile", "LOGFILE", "daemonSocketPath"), _PATHS),
    **dict.fromkeys(("deviceID", "pciBusID"), _DEVICE_IDS),
    **dict.fromkeys(("hwaddr", "mac", "address", "gateway", "dst", "gw", "ip"), _ADDRESSES),
    **dict.fromkeys(("cniVersion", "version"), VERSIONS),
    "device": ("enp1s0", "enp2s0", "lo"),
    "mover": ("native", "delegate", ""),
    "ipam": (STATIC, HOST_LOCAL, {}, {"type": "sh"}),
    "type": ("static", "host-local", "host-device", "sh", "exe", "ld.so"),
    "runtimeConfig": ({"deviceID": SECOND}, {"deviceID": FIRST}, {"mac": "02:00:00:00:00:77"}),
    "prevResult": (RESULT, OLD_RESULT, {}),
    "cni.dev/valid-attachments": (VALID, [], [{}], None),
    "copyRoutes": (True, False),
    "moveRdma": (True, False),
    "addrGenMode": ("keep", "kernel", ""),
    "copySysctls": (True, False),
    "mtu": (0, 1, 68, 1280, 9000, 65535, 65536, 2**31 - 1, 2**31),
    "logLevel": ("debug", "info", "error", "loud"),
}
"""Likely values of members with these names; other values are tried too."""

_VARIABLES: Final = (*ENVIRON, "CNI_ARGS", "CNI_NETNS_OVERRIDE", "CNI_X")
_ARGS: Final = (
    *("K8S_POD_UID=a", "IgnoreUnknown=1;K8S_POD_UID=a;K8S_POD_UID=", "K8S_POD_UID=\udcff"),
    *("IgnoreUnknown=1;K8S_POD_NAME=a", "IP=1.2.3.4", "MAC=", "a=b", "=", ";;", "IgnoreUnknown=1"),
)
_COMMANDS: Final = (*VERBS, "add", "", "ADD\n")


def mutated(data: bytes, max_size: int, seed: int, mutate: Mutate) -> bytes:
    """Return a call similar to the one in `data`; `mutate` changes what has no structure."""
    random = Random(seed)
    call = parse(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        call = _mutations(random)(call, random, mutate)
    changed = encode(call)
    return changed if len(changed) <= max_size else mutate(data, max_size)


def _mutations(random: Random) -> Callable[[Input, Random, Mutate], Input]:
    ways = (_change_json, _change_variable, _change_bytes, _change_surroundings)
    return random.choices(ways, (12, 5, 2, 1))[0]


def _change_surroundings(call: Input, random: Random, mutate: Mutate) -> Input:
    if random.random() < 0.8:
        return evolve(call, held=not call.held)
    return evolve(call, times=random.choice((1, 1, 3, 90, 5000)))


def _change_bytes(call: Input, random: Random, mutate: Mutate) -> Input:
    return evolve(call, stdin=mutate(call.stdin, len(call.stdin) + 64))


def _change_variable(call: Input, random: Random, mutate: Mutate) -> Input:
    name = random.choice(_VARIABLES)
    if random.random() < 0.1:
        return evolve(call, environ={n: v for n, v in call.environ.items() if n != name})
    if random.random() < 0.2:
        octets = mutate(os.fsencode(call.environ.get(name, "")), 64)
        text = os.fsdecode(octets.replace(b"\0", b""))
    else:
        pool = {"CNI_COMMAND": _COMMANDS, "CNI_ARGS": _ARGS, "CNI_NETNS": _PATHS}.get(name)
        known = (*_PATHS, *_NAMES) if pool is None or random.random() < 0.1 else pool
        text = random.choice((ENVIRON.get(name, ""), *known)).replace("\0", "")
        text = os.fsdecode(text.encode(errors="surrogatepass"))
    return evolve(call, environ={**call.environ, name: text})


def _change_json(call: Input, random: Random, mutate: Mutate) -> Input:
    try:
        root = json.loads(call.stdin)
    except (ValueError, RecursionError):
        root = None
    if not isinstance(root, dict):
        root = dict(CONFIG)
    places = list(_places(root))
    if not places or random.random() < 0.25:
        _put(root, random.choice(_KEYS), random)
    else:
        _change_place(*random.choice(places), random, mutate)
    try:
        return evolve(call, stdin=json.dumps(root).encode())
    except RecursionError:  # A text nested this deeply can be read but not always written.
        return call


def _places(value: Any, depth: int = 20) -> Iterator[tuple[Any, Any]]:
    """Yield each member of each object and list, as its container and its key or index."""
    if depth == 0 or not isinstance(value, dict | list):
        return
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        yield from _places(value[key], depth - 1)


def _change_place(holder: Any, key: Any, random: Random, mutate: Mutate) -> None:
    value = holder[key]
    match random.randrange(8):
        case 0:
            del holder[key]
        case 1:
            holder[key] = random.choice(([value], {"a": value}, str(value), [value, value]))
        case 2 if isinstance(holder, dict):
            holder[random.choice(_KEYS)] = holder.pop(key)
        case 3 if isinstance(value, str):
            octets = mutate(value.encode(errors="surrogatepass"), 64)
            holder[key] = octets.decode(errors="replace")
        case 4 if isinstance(value, dict):
            _put(value, random.choice(_KEYS), random)
        case 5 if type(value) is int:
            holder[key] = random.choice((value + 1, -value, value * 2**31))
        case _:
            _put(holder, key, random)


def _put(holder: Any, key: Any, random: Random) -> None:
    """Give a member of an object or a list a likely value, or any other."""
    likely = _LIKELY.get(key) if isinstance(holder, dict) else None
    holder[key] = random.choice(_POOL if likely is None or random.random() < 0.3 else likely)
