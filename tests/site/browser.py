"""A headless Chromium, which is told what to do by its DevTools protocol.

It reads one JSON object after the other from a pipe and answers on another, so that no port is
open and no library is needed (--remote-debugging-pipe; https://chromedevtools.github.io).
"""

import base64
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from attrs import Factory, define

from tests.patience import PATIENCE_S
from tests.site.packages import Unpacked

_END: Final = b"\0"
_IN_PIPES: Final = 'exec "$@" 3<&0 4>&1 0</dev/null 1>&2'
"""Chromium reads from descriptor 3 and writes to 4."""

_OPTIONS: Final = (
    "--remote-debugging-pipe",
    # The pages are our own, and root has no sandbox.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    # A name that the browser looked up would be that of something outside.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--disable-background-networking",
    "--hide-scrollbars",
)


_MOST_PIXELS: Final = 16384


class Refused(Exception):
    """Why the browser does not do what it is told."""


@define(eq=False)
class Page:
    """A tab of the browser."""

    _pipe: "_Pipe"
    _session: str

    def open(self, address: str) -> list[str]:
        """Load a page, and return what it complained about while it was loaded."""
        self._pipe.events.clear()
        self._tell("Page.navigate", url=address)
        while not self._said("Page.loadEventFired"):
            self._pipe.read()
        # What a script does when the page is loaded is done after two frames.
        self.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        return self._complaints()

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._tell("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str) -> None:
        """Let the reader's system prefer `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._tell("Emulation.setEmulatedMedia", features=features)

    def evaluate(self, expression: str) -> Any:
        """Return what an expression in JavaScript gives, or its promise."""
        # What a script may do only after a click, such as copying, it may do here.
        how = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self._tell("Runtime.evaluate", expression=expression, **how)
        if "exceptionDetails" in answer:
            raise Refused(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def picture(self, *, whole: bool = False) -> bytes:
        """Return what the window shows, or the whole page, as PNG."""
        options: dict[str, object] = {}
        if whole:
            size = self._tell("Page.getLayoutMetrics")["cssContentSize"]
            # Chromium paints no surface that is higher.
            clip = {**size, "height": min(size["height"], _MOST_PIXELS), "scale": 1}
            options = {"clip": clip, "captureBeyondViewport": True}
        return base64.b64decode(self._tell("Page.captureScreenshot", **options)["data"])

    def _tell(self, method: str, **parameters: object) -> dict[str, Any]:
        return self._pipe.tell(method, parameters, self._session)

    def _said(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self._pipe.events if event["method"] in methods]

    def _complaints(self) -> list[str]:
        """What the console has as an error or a warning, and what was looked for elsewhere."""
        entries = [said["entry"] for said in self._said("Log.entryAdded")]
        found = [f"{each['text']} {each.get('url', '')}" for each in entries]
        found += [
            json.dumps(each["exceptionDetails"]) for each in self._said("Runtime.exceptionThrown")
        ]
        called = self._said("Runtime.consoleAPICalled")
        found += [
            json.dumps(each["args"]) for each in called if each["type"] in ("error", "warning")
        ]
        for sent in self._said("Network.requestWillBeSent"):
            if not sent["request"]["url"].startswith(("file:", "data:", "blob:")):
                found.append(f"it asks for {sent['request']['url']}")
        return found


@define(eq=False)
class _Pipe:
    """The two ends of the conversation."""

    process: "subprocess.Popen[bytes]"
    events: list[dict[str, Any]] = Factory(list)
    _last: int = 0
    _unread: bytes = b""

    def tell(
        self, method: str, parameters: dict[str, object], session: str | None = None
    ) -> dict[str, Any]:
        """Send a command, and return its answer."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + _END)
        self.process.stdin.flush()
        while (answer := self.read()) is None or answer.get("id") != self._last:
            pass
        if "error" in answer:
            raise Refused(f"{method}: {answer['error']['message']}")
        found: dict[str, Any] = answer["result"]
        return found

    def read(self) -> dict[str, Any] | None:
        """Read one message: return an answer, keep an event."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE_S
        while _END not in self._unread:
            ready, _, _ = select.select([self.process.stdout], [], [], deadline - time.monotonic())
            part = os.read(self.process.stdout.fileno(), 1 << 20) if ready else b""
            if not part:
                raise Refused("the browser has ended" if ready else "the browser is silent")
            self._unread += part
        line, _, self._unread = self._unread.partition(_END)
        message: dict[str, Any] = json.loads(line)
        if "id" in message:
            return message
        self.events.append(message)
        return None


@contextmanager
def browsing(packages: Unpacked) -> Iterator[Page]:
    """A page of a browser that runs until the end of the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [*_OPTIONS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            ["sh", "-c", _IN_PIPES, "sh", str(packages.program), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=packages.environment,
        )
        try:
            yield _first_page(_Pipe(process))
        finally:
            process.terminate()
            process.communicate()


def _first_page(pipe: _Pipe) -> Page:
    target = pipe.tell("Target.createTarget", {"url": "about:blank"})["targetId"]
    attached = pipe.tell("Target.attachToTarget", {"targetId": target, "flatten": True})
    page = Page(pipe, attached["sessionId"])
    for domain in ("Page", "Runtime", "Log", "Network"):
        pipe.tell(f"{domain}.enable", {}, attached["sessionId"])
    return page
