"""The start of `amd-host-device`: asks the node's agent, and loads the plugin only without it.

The launchers start this with `-S`: neither `.pth` files nor `sitecustomize` are executed, and a
third of the time is saved.  `site` is loaded if packages cannot be found without it.
"""

import _signal  # type: ignore[import-not-found]
import posix
import sys

from amdcni_shim import client

ALONE = "--alone"
"""The first argument of a call that must not be forwarded.

The static launcher says so when it has found that the agent does not serve the call.
"""

PACKAGES = frozenset({"attr", "attrs", "cattrs", "pyroute2", "structlog", "typing_extensions"})
"""What the plugin uses that neither this project nor Python has."""

ENDED = b'{"cniVersion":"1.1.0","code":11,"msg":"ended by %b before the work was done"}\n'
"""The answer of a client that is asked to end, with the name of the signal."""

_SIGNALS = {_signal.SIGTERM: b"SIGTERM", _signal.SIGINT: b"SIGINT"}

_STDOUT, _STDERR = 1, 2


def run(
    path: bytes = client.SOCKET_PATH,
    accept_s: float = client.ACCEPT_S,
    begin_s: float = client.BEGIN_S,
    answer_s: float = client.ANSWER_S,
) -> None:
    """Serve the call that this process was started for, by the agent or alone, and end it.

    A closed stdin is an empty configuration; without a stdout nothing is done.  The parameters are
    those of `client.forward`.
    """
    _hold_standard_descriptors()
    if sys.stdout is None:
        posix._exit(1)
    environ, stdin = posix.environ, None
    if environ.get(b"CNI_COMMAND") not in (None, b"VERSION") and sys.argv[1:2] != [ALONE]:
        for number in _SIGNALS:
            _signal.signal(number, _fail)
        try:
            stdin = client.read_stdin()
        except OSError:
            # Reading it again will show what is wrong.
            answer = None
        else:
            answer = client.forward(environ, stdin, path, accept_s, begin_s, answer_s)
        if answer is not None:
            _end(*answer)
    _find_packages()
    from amdcni_shim.__main__ import serve_alone

    serve_alone(stdin)


def _hold_standard_descriptors() -> None:
    """Keep sockets and locks from taking the place of a closed stdin, stdout or stderr."""
    while (fd := posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)) <= _STDERR:
        pass
    posix.close(fd)


def _fail(number: int, _: object) -> None:
    _end(1, ENDED % _SIGNALS[number])


def _end(status: int, output: bytes) -> None:
    for number in _SIGNALS:
        _signal.signal(number, _signal.SIG_IGN)
    rest = memoryview(output)
    try:
        while rest:
            rest = rest[posix.write(_STDOUT, rest) :]
    except OSError:
        # The runtime has gone without reading its answer.
        status = 1
    posix._exit(status)


def _find_packages() -> None:
    """Load `site` unless all packages are in one folder with this one, as pip installs them."""
    if "site" in sys.modules:
        return
    folder = __file__.rpartition("/amdcni_shim/")[0]
    try:
        found = {name.partition(".")[0] for name in posix.listdir(folder)}
    except OSError:
        found = set()
    if not found >= PACKAGES:
        import site

        site.main()
