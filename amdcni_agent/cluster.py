"""The cluster in which the agent runs, as far as it has to know it to post events."""

import os
import re
import stat
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import attrs

from amdcni.core.errors import InvalidEnvironment

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where the kubelet puts the token of a pod's service account."""

DESCRIPTORS: Final = "/proc/self/fd/"
"""Where a folder is that the program before this one, in another mount namespace, has opened."""

_HTTPS: Final = 443
_MAX_FILE_BYTES: Final = 1 << 20
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1


class Posting(StrEnum):
    """Whether events are posted; AUTO means if the agent finds what it needs for that."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@attrs.frozen
class ServiceAccount:
    """The folder of a service account, as a descriptor: its path may lead nowhere by now.

    The kubelet replaces the files now and then, by another target of a link in the folder.
    """

    folder: int

    def token(self) -> str:
        """The token as it is now; raises OSError, or ValueError if what is there is none."""
        token = self._read("token").strip()
        if not _TOKEN.fullmatch(token):
            # Not shown, as http.client would: it may hold one.
            raise ValueError("the file token of the service account does not hold one token alone")
        return token

    def certificates(self) -> str:
        """The certificates of whoever may vouch for the API server; raises OSError."""
        return self._read("ca.crt")

    def _read(self, name: str) -> str:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.folder)
        with open(descriptor, encoding="ascii", errors="replace") as file:
            return file.read(_MAX_FILE_BYTES)


@attrs.frozen
class Cluster:
    """Where the API server is, who this agent is to it, and the name of this node."""

    host: str
    port: int
    account: ServiceAccount
    node: str


def find_cluster(environ: Mapping[str, str], folder: str) -> Cluster:
    """The cluster that the environment and the folder of a service account tell of.

    The descriptor of the folder stays open as long as this process, which must not execute another
    program with it.

    Raises: InvalidEnvironment, saying what is missing.
    """
    from amdcni_agent.happenings import is_object_name

    host = environ.get("KUBERNETES_SERVICE_HOST", "").strip("[]")
    port = environ.get("KUBERNETES_SERVICE_PORT", "") or str(_HTTPS)
    if not host:
        raise InvalidEnvironment("KUBERNETES_SERVICE_HOST is not set")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise InvalidEnvironment(f"KUBERNETES_SERVICE_PORT {port!r} is not a port")
    node = environ.get("NODE_NAME") or os.uname().nodename.lower()
    if not is_object_name(node):
        raise InvalidEnvironment(f"{node!r} is not the name of a node; set NODE_NAME")
    return Cluster(host, int(port), _open_account(folder), node)


def _open_account(folder: str) -> ServiceAccount:
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        words = f"no service account is in {folder!r}: {error.strerror}"
        raise InvalidEnvironment(words) from error
    try:
        is_file = stat.S_ISREG(os.stat("token", dir_fd=descriptor).st_mode)
    except FileNotFoundError:
        is_file = False
    if not is_file:
        os.close(descriptor)
        raise InvalidEnvironment(f"no token is in {folder!r}")
    number = folder.removeprefix(DESCRIPTORS)
    if number != folder and number.isdecimal():
        # No plugin is to inherit it.
        os.set_inheritable(int(number), False)
    return ServiceAccount(descriptor)
