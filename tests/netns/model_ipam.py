"""An IPAM plugin that does what CNI SPEC 1.1 requires of one; see `model_plugin`."""

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

VERSIONS = ["0.4.0", "1.0.0", "1.1.0"]
STATE = Path("/run/model-ipam")
environ = os.environ


def end(status: int, version: str, said: dict[str, Any]) -> NoReturn:
    print(json.dumps({"cniVersion": version, **said}))
    sys.exit(status)


def allocate(attachment: str, version: str) -> NoReturn:
    STATE.mkdir(exist_ok=True)
    for number in range(1, 7):
        try:
            with open(STATE / str(number), "x") as file:
                file.write(attachment)
        except FileExistsError:
            continue
        family = {} if version >= "1.0.0" else {"version": "4"}
        end(0, version, {"ips": [{"address": f"198.51.100.{number}/29", **family}]})
    end(1, version, {"code": 100, "msg": "no address is free"})


def release(attachment: str) -> None:
    for path in STATE.glob("*"):
        if path.read_text() == attachment:
            path.unlink()


def main() -> None:
    version = json.load(sys.stdin)["cniVersion"]
    attachment = f"{environ.get('CNI_CONTAINERID')}/{environ.get('CNI_IFNAME')}"
    match environ["CNI_COMMAND"]:
        case "VERSION":
            end(0, version, {"supportedVersions": VERSIONS})
        case "ADD":
            allocate(attachment, version)
        case "DEL":
            release(attachment)


if __name__ == "__main__":
    main()
