"""A CNI plugin that does all that CNI SPEC 1.1 requires, for the tests of the conformance suite.

It gives a container one end of a veth pair, and lets an IPAM plugin choose the addresses, each of
which gets a rule on the host.  It is run as a script with `python -I -S`; each test puts a fault
into a copy of this text.
"""

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, NoReturn

VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
NEEDED = {
    "ADD": ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    "CHECK": ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    "DEL": ["CNI_CONTAINERID", "CNI_IFNAME"],
    "GC": [],
    "STATUS": [],
}
STATE = Path("/run/model-plugin")
environ = os.environ
version = "1.1.0"


def end(status: int, said: dict[str, Any]) -> NoReturn:
    print(json.dumps({"cniVersion": version, **said}))
    sys.exit(status)


def fail(code: int, msg: str) -> NoReturn:
    end(1, {"code": code, "msg": msg})


def ip(*words: str, netns: str = "/proc/self/ns/net") -> str:
    command = ["nsenter", f"--net={netns}", "ip", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(100, done.stderr.strip())
    return done.stdout


def links(netns: str = "/proc/self/ns/net") -> dict[str, dict[str, Any]]:
    listed = json.loads(ip("-json", "address", "show", netns=netns))
    return {link["ifname"]: link for link in listed}


def delegate(verb: str, config: dict[str, Any], **variables: str) -> Any:
    """Return the IPAM plugin's answer, or None if there is no such plugin."""
    name = config.get("ipam", {}).get("type")
    if name is None:
        return None
    found = [Path(folder, name) for folder in environ.get("CNI_PATH", "").split(":")]
    path = next((path for path in found if path.exists()), None)
    if path is None:
        fail(7, f"no plugin {name}")
    done = subprocess.run(
        [path],
        input=json.dumps(config).encode(),
        stdout=subprocess.PIPE,
        env={**environ, "CNI_COMMAND": verb, **variables},
        check=False,
    )
    answer = json.loads(done.stdout or b"{}")
    if done.returncode == 0:
        return answer
    if verb == "ADD":
        delegate("DEL", config)
    fail(answer["code"], answer["msg"])


def cable_of(container_id: str, ifname: str) -> str:
    return f"cable{zlib.crc32(f'{container_id}/{ifname}'.encode()):08x}"


def addresses_with_rules() -> list[str]:
    return [rule["src"] for rule in json.loads(ip("-json", "rule")) if rule["src"] != "all"]


def detach(config: dict[str, Any], container_id: str, ifname: str) -> None:
    variables = {"CNI_CONTAINERID": container_id, "CNI_IFNAME": ifname}
    delegate("DEL", config, **variables)
    cable = cable_of(container_id, ifname)
    if cable in links():
        ip("link", "delete", cable)
    if (STATE / cable).exists():
        addresses = json.loads((STATE / cable).read_text())["addresses"]
        for address in set(addresses).intersection(addresses_with_rules()):
            ip("rule", "delete", "from", address)
        (STATE / cable).unlink()


def attach(config: dict[str, Any], container_id: str, netns: str, ifname: str) -> dict[str, Any]:
    if ifname in links(netns):
        fail(100, f"{ifname} is there already")
    STATE.mkdir(exist_ok=True)
    cable = cable_of(container_id, ifname)
    given = delegate("ADD", config) or {"ips": [], "routes": []}
    addresses = [entry["address"].partition("/")[0] for entry in given["ips"]]
    record = {"id": [container_id, ifname], "network": config["name"], "addresses": addresses}
    (STATE / cable).write_text(json.dumps(record))
    ip("link", "add", cable, "type", "veth", "peer", "name", ifname, "netns", netns)
    ip("link", "set", cable, "up")
    ip("link", "set", ifname, "up", netns=netns)
    previous = config.get("prevResult", {})
    result = {
        "interfaces": previous.get("interfaces", []),
        "ips": previous.get("ips", []),
        "routes": previous.get("routes", []),
        "dns": previous.get("dns", {}),
    }
    link = links(netns)[ifname]
    mtu = {"mtu": link["mtu"]} if version >= "1.1.0" else {}
    result["interfaces"] += [
        {"name": cable, "mac": links()[cable]["address"]},
        {"name": ifname, "mac": link["address"], "sandbox": netns, **mtu},
    ]
    place = len(result["interfaces"]) - 1
    for entry in given["ips"]:
        ip("address", "add", entry["address"], "dev", ifname, netns=netns)
        family = {} if version >= "1.0.0" else {"version": "4"}
        result["ips"].append({"address": entry["address"], "interface": place, **family})
    for entry in given["routes"]:
        gateway = entry.get("gw", given["ips"][0]["gateway"])
        ip("route", "append", entry["dst"], "via", gateway, "dev", ifname, netns=netns)
        result["routes"].append(entry)
    for address in addresses:
        ip("rule", "add", "from", address, "table", "main")
    return result


def check(config: dict[str, Any], netns: str, ifname: str) -> None:
    delegate("CHECK", config)
    result = config.get("prevResult", {})
    there = links(netns)
    if ifname not in there:
        fail(100, f"{ifname} is missing")
    present = {f"{a['local']}/{a['prefixlen']}" for a in there[ifname]["addr_info"]}
    names = [interface["name"] for interface in result["interfaces"]]
    for entry in result["ips"]:
        if names[entry["interface"]] == ifname and entry["address"] not in present:
            fail(100, f"{entry['address']} is missing")
    routes = {route["dst"] for route in json.loads(ip("-json", "route", netns=netns))}
    for entry in result["routes"]:
        if entry["dst"] not in routes:
            fail(100, f"{entry['dst']} is missing")


def collect(config: dict[str, Any]) -> None:
    valid = [[one["containerID"], one["ifname"]] for one in config["cni.dev/valid-attachments"]]
    for path in STATE.glob("cable*"):
        record = json.loads(path.read_text())
        if record["network"] == config["name"] and record["id"] not in valid:
            detach({}, *record["id"])
    delegate("GC", config)


def main() -> None:
    global version
    verb = environ.get("CNI_COMMAND", "")
    if verb == "VERSION":
        end(0, {"supportedVersions": VERSIONS})
    if verb not in NEEDED:
        fail(4, f"CNI_COMMAND is {verb!r}")
    missing = [name for name in NEEDED[verb] if not environ.get(name)]
    if missing:
        fail(4, f"missing: {', '.join(missing)}")
    container_id, ifname = environ.get("CNI_CONTAINERID", ""), environ.get("CNI_IFNAME", "")
    if container_id and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", container_id):
        fail(4, "CNI_CONTAINERID is invalid")
    if ifname and (ifname in (".", "..") or not re.fullmatch(r"[^/:\s]{1,15}", ifname)):
        fail(4, "CNI_IFNAME is invalid")
    try:
        config = json.load(sys.stdin)
    except ValueError as error:
        fail(6, str(error))
    if config.get("cniVersion") not in VERSIONS:
        fail(1, f"cniVersion {config.get('cniVersion')!r}")
    version = config["cniVersion"]
    if not config.get("name"):
        fail(7, "name is missing")
    netns = environ.get("CNI_NETNS", "")
    match verb:
        case "ADD":
            if not os.path.exists(netns):
                fail(8, "CNI_NETNS does not exist")
            end(0, attach(config, container_id, netns, ifname))
        case "DEL":
            detach(config, container_id, ifname)
        case "CHECK":
            check(config, netns, ifname)
        case "GC":
            collect(config)
        case "STATUS":
            delegate("STATUS", config)


if __name__ == "__main__":
    main()
