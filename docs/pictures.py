"""The pictures of the pages, as SVG: drawn by the build, in the colours of the theme."""

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_LINE: Final = 18
_COLOURS: Final = {
    "line": "var(--color-foreground-secondary, #5a5c63)",
    "text": "var(--color-foreground-primary, #000)",
    "fill": "var(--color-background-secondary, #f8f9fb)",
    "strong": "var(--color-brand-primary, #0a4bff)",
    "page": "var(--color-background-primary, #fff)",
}


class Picture:
    """A drawing of boxes, arrows and words; `title` is what somebody reads who does not see it."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._size, self._title = (width, height), title
        self._head = f"head-{width}-{height}"
        self._parts: list[str] = []

    def box(
        self,
        at: tuple[int, int],
        size: tuple[int, int],
        title: str,
        lines: Sequence[str] = (),
        *,
        strong: bool = False,
        dashed: bool = False,
    ) -> None:
        """A box with a title, and lines of text below it."""
        (x, y), (width, height) = at, size
        colour = _COLOURS["strong" if strong else "line"]
        dashes = ' stroke-dasharray="6 4"' if dashed else ""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" '
            f'fill="{_COLOURS["fill"]}" stroke="{colour}" stroke-width="1.5"{dashes}/>'
        )
        middle = x + width // 2
        self.text((middle, y + 24), title, bold=True)
        for number, line in enumerate(lines):
            self.text((middle, y + 24 + (number + 1) * _LINE), line, small=True)

    def text(
        self, at: tuple[int, int], words: str, *, bold: bool = False, small: bool = False
    ) -> None:
        """Words around a point."""
        weight, size = ("bold" if bold else "normal"), (12 if small else 14)
        self._parts.append(
            f'<text x="{at[0]}" y="{at[1]}" text-anchor="middle" font-size="{size}" '
            f'font-weight="{weight}" fill="{_COLOURS["text"]}">{html.escape(words)}</text>'
        )

    def arrow(
        self,
        *points: tuple[int, int],
        words: Sequence[str] = (),
        at: tuple[int, int] | None = None,
        dashed: bool = False,
    ) -> None:
        """An arrow through the points, with words at a point, or else above its middle."""
        path = " L".join(f"{x},{y}" for x, y in points)
        dashes = ' stroke-dasharray="6 4"' if dashed else ""
        self._parts.append(
            f'<path d="M{path}" fill="none" stroke="{_COLOURS["line"]}" stroke-width="1.5"'
            f'{dashes} marker-end="url(#{self._head})"/>'
        )
        (x1, y1), (x2, y2) = points[0], points[-1]
        x, y = at or ((x1 + x2) // 2, (y1 + y2) // 2 - 8 - (len(words) - 1) * 15)
        for number, line in enumerate(words):
            self.text((x, y + number * 15), line, small=True)

    def as_svg(self, kind: str = "wide") -> str:
        """The drawing, to be put into a page."""
        width, height = self._size
        # Two pictures of a page, one of which is hidden, must not share a marker.
        head = (
            f'<defs><marker id="{self._head}" viewBox="0 0 10 10" refX="9" refY="5" '
            f'markerWidth="8" markerHeight="8" orient="auto"><path d="M0,0 L10,5 L0,10 z" '
            f'fill="{_COLOURS["line"]}"/></marker></defs>'
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'class="{kind}" '
            f'style="width:100%;max-width:{width}px;height:auto;font-family:sans-serif">'
            f"<title>{html.escape(self._title)}</title>{head}{''.join(self._parts)}</svg>\n"
        )


def lending() -> Picture:
    """The host, the pod, and the host again."""
    picture = Picture(760, 300, "A NIC leaves the host for a pod and comes back as it was")
    had = ("eth1", "10.0.0.0/31", "routes, sysctls, qdiscs", "ethtool settings, ifindex")
    picture.box((10, 30), (190, 130), "host", had)
    in_pod = ("net1", "10.0.0.0/31", "and what the pod", "does with it")
    picture.box((285, 30), (190, 130), "pod", in_pod, strong=True)
    picture.box((560, 30), (190, 130), "host, as before", had)
    picture.arrow((200, 95), (285, 95), words=("2. ADD",))
    picture.arrow((475, 95), (560, 95), words=("3. DEL, or", "pod's death"))
    record = ("everything that the host had,", "durable before anything changes")
    picture.box((245, 205), (270, 80), "record on disk", record)
    picture.arrow((105, 160), (105, 245), (245, 245), words=("1. written first",), at=(172, 238))
    picture.arrow((515, 245), (655, 245), (655, 160), words=("4. restored",), at=(588, 222))
    picture.text((588, 238), "and compared", small=True)
    return picture


def lending_narrow() -> Picture:
    """The same from top to bottom, for a phone."""
    picture = Picture(360, 480, "A NIC leaves the host for a pod and comes back as it was")
    had = ("eth1, 10.0.0.0/31,", "routes, sysctls, qdiscs,", "ethtool settings, ifindex")
    picture.box((10, 10), (200, 100), "host", had)
    in_pod = ("net1, 10.0.0.0/31, and", "what the pod does with it")
    picture.box((10, 195), (200, 80), "pod", in_pod, strong=True)
    picture.box((10, 360), (200, 100), "host, as before", had)
    picture.box((235, 195), (115, 80), "record", ("on disk,", "durable"))
    picture.arrow((110, 110), (110, 195), words=("2. ADD",), at=(140, 158))
    picture.arrow((110, 275), (110, 360), words=("3. DEL, or the", "pod's death"), at=(158, 313))
    picture.arrow((210, 60), (292, 60), (292, 195), words=("1. written first",), at=(290, 48))
    picture.arrow((292, 275), (292, 410), (210, 410), words=("4. restored",), at=(290, 428))
    picture.text((290, 444), "and compared", small=True)
    return picture


def life() -> Picture:
    """The states of an attachment, and what moves it from one to the next."""
    picture = Picture(760, 390, "The life of an attachment: attaching, attached, detaching")
    picture.box((20, 40), (150, 60), "no record", ("the NIC is on the host",))
    picture.box((300, 40), (150, 60), "attaching", ("a call is at work",))
    picture.box((560, 40), (150, 60), "attached", ("the pod has it",), strong=True)
    picture.box((300, 190), (150, 60), "detaching", ("a call is at work",))
    picture.box((560, 190), (150, 60), "orphan", ("the pod has lost it",), dashed=True)
    picture.box((560, 310), (150, 60), "reset", ("a new netdev at home",), dashed=True)
    picture.arrow((170, 55), (300, 55), words=("ADD writes", "the record"))
    failed = ("it fails or is killed:", "all is undone")
    picture.arrow((300, 85), (170, 85), words=failed, at=(235, 108))
    picture.arrow((450, 70), (560, 70), words=("all has", "succeeded"))
    picture.arrow((585, 100), (430, 190), words=("DEL, GC",), at=(540, 160))
    back = ("restored, compared,", "and removed")
    picture.arrow((300, 220), (95, 220), (95, 100), words=back, at=(198, 196))
    picture.arrow((635, 100), (635, 190), words=("the pod dies", "without DEL"), at=(682, 140))
    picture.arrow((560, 225), (450, 225), words=("heal, or the", "next call"))
    picture.arrow((710, 70), (740, 70), (740, 340), (710, 340), words=("driver or",), at=(693, 283))
    picture.text((693, 298), "card is reset", small=True)
    picture.arrow((560, 340), (270, 340), (270, 160), (335, 160), (335, 100))
    picture.text((410, 332), "heal: back into the pod", small=True)
    return picture


def agent() -> Picture:
    """Who talks to whom when an agent serves a node."""
    picture = Picture(760, 385, "The agent: runtime, client, main process, workers, reports")
    picture.box((10, 30), (150, 60), "runtime", ("containerd, Multus",))
    picture.box((225, 30), (160, 60), "amd-host-device", ("static client in C",))
    takes = ("takes calls, watches netdevs,", "never waits")
    picture.box((530, 20), (220, 80), "main process", takes, strong=True)
    picture.box((530, 165), (105, 60), "worker", ("one call",))
    picture.box((645, 165), (105, 60), "worker", ("one call",))
    picture.box((230, 165), (150, 60), "Python, alone", ("the same code",), dashed=True)
    picture.box((530, 310), (105, 60), "kernel", ("netlink",))
    picture.box((645, 310), (105, 60), "records", ("on disk",))
    picture.box((10, 310), (370, 60), "reports", ("metrics, probes, Kubernetes events",))
    picture.arrow((160, 60), (225, 60), words=("executes",))
    picture.arrow((385, 45), (530, 45), words=("a call, by its socket",), at=(458, 37))
    picture.arrow((582, 100), (582, 165))
    picture.arrow((697, 100), (697, 165))
    picture.arrow(
        (305, 90), (305, 165), words=("no agent, or it", "does not answer"), at=(247, 123)
    )
    picture.arrow((582, 225), (582, 310))
    picture.arrow((697, 225), (697, 310))
    picture.arrow((305, 225), (305, 265), (560, 265), (560, 310), dashed=True)
    picture.arrow((530, 340), (500, 340), (500, 85), (530, 85), words=("events",), at=(474, 190))
    picture.arrow((530, 65), (430, 65), (430, 340), (380, 340), words=("messages",), at=(396, 295))
    return picture


def call() -> Picture:
    """How a call flows through the parts of the program."""
    picture = Picture(760, 330, "A call: request, snapshot, plan, execution, result")
    picture.box((10, 10), (740, 50), "amdcni_shim: the exec protocol, errors to codes")
    picture.box((10, 120), (120, 70), "request", ("parsed,", "checked"))
    picture.box((175, 120), (120, 70), "snapshot", ("of the node",))
    picture.box((340, 120), (140, 70), "plan", ("steps with", "their undo"), strong=True)
    picture.box((630, 120), (120, 70), "result", ("in the version", "asked for"))
    lines = ("netlink, network namespaces, sysfs, records on disk, other plugins",)
    picture.box((10, 250), (740, 65), "amdcni.effects", lines)
    picture.arrow((70, 60), (70, 120), words=("environment, stdin",), at=(140, 95))
    picture.arrow((130, 155), (175, 155))
    picture.arrow((295, 155), (340, 155))
    picture.arrow((235, 250), (235, 190), words=("facts",), at=(210, 225))
    picture.arrow((410, 190), (410, 250), words=("step by step,", "or undone"), at=(360, 215))
    picture.arrow(
        (560, 250), (560, 155), (630, 155), words=("what was", "found out"), at=(595, 215)
    )
    picture.arrow((690, 120), (690, 60), words=("stdout, status",), at=(640, 95))
    return picture


def users() -> Picture:
    """Who uses the core, through which shell."""
    picture = Picture(760, 400, "Users of the core: a runtime, a person at the node, a test")
    picture.box((10, 10), (150, 40), "a runtime")
    picture.box((200, 10), (370, 40), "a person at the node")
    picture.box((610, 10), (140, 40), "a test")
    picture.box((10, 95), (150, 65), "amdcni_shim", ("the exec protocol",))
    picture.box((200, 95), (370, 65), "amdcni.cli")
    picture.box((610, 95), (140, 65), "amdcni.testing", ("the test kit",))
    picture.box((10, 215), (150, 45), "amdcni.verbs")
    picture.box((320, 215), (130, 45), "amdcni.verbs")
    picture.box((610, 215), (140, 45), "amdcni.runtime")
    picture.box((10, 320), (740, 70), "amdcni.core", strong=True)
    for x, words in ((250, "explain"), (385, "heal, release"), (510, "devices, doctor")):
        picture.text((x, 144), words, small=True)
    for x in (85, 385, 680):
        picture.arrow((x, 50), (x, 95))
        picture.arrow((x, 160), (x, 215))
        picture.arrow((x, 260), (x, 320))
    for x in (250, 510):
        picture.arrow((x, 160), (x, 320))
    picture.arrow((250, 237), (160, 237), words=("--plan",))
    for x, words in (
        (85, "requests, plans, steps"),
        (250, "a pod's way to its call"),
        (385, "plans, steps"),
        (510, "facts to verdicts"),
        (680, "calls in order"),
    ):
        picture.text((x, 374), words, small=True)
    return picture


PICTURES: Final[tuple[Callable[[], Picture], ...]] = (lending, life, agent, call, users)
NARROW: Final[Mapping[Callable[[], Picture], Callable[[], Picture]]] = {lending: lending_narrow}
"""How a picture is drawn for a phone, if not as for everybody."""


def write(folder: Path) -> None:
    """Write all pictures; a file that is as it should be stays as it is."""
    folder.mkdir(exist_ok=True)
    for draw in PICTURES:
        narrow = NARROW[draw]().as_svg("narrow") if draw in NARROW else ""
        path = folder / f"{draw.__name__}.svg"
        svg = f'<div class="picture">{narrow}{draw().as_svg()}</div>\n'
        if not path.exists() or path.read_text() != svg:
            path.write_text(svg)
