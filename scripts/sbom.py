"""Writes the bill of materials of a release: `python -m scripts.sbom FILE [PACKAGES]`.

It is CycloneDX in JSON, and lists what an operator installs beside amdcni, as pinned in
requirements/run.txt, the C library in the static launcher, and Debian's packages in the tree, which
the file PACKAGES of its licences names.  The same commit gives the same bytes.
"""

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import metadata
from pathlib import Path
from typing import Final

import attrs
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from amdcni import __version__

LOCK: Final = Path(__file__).parents[1] / "requirements/run.txt"
OLDEST: Final = {"python_version": "3.11", "python_full_version": "3.11.0", "extra": ""}
"""For which Python the lock was resolved; it has all that newer ones need."""

C_LIBRARIES: Final = {"musl-dev": "MIT", "libc6-dev": "LGPL-2.1-or-later"}
"""The licences of C libraries, by Debian's package."""


@attrs.frozen
class Locked:
    """A package as it is pinned."""

    name: str
    version: str
    sha256s: tuple[str, ...]


def locked(text: str) -> dict[str, Locked]:
    """The packages of a lock, by their names."""
    pins = re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)((?: \\\n +--hash=sha256:\w+)+)", text, re.M)
    return {
        canonicalize_name(name): Locked(
            canonicalize_name(name), version, tuple(re.findall(r"sha256:(\w+)", hashes))
        )
        for name, version, hashes in pins
    }


def needed_by(package: str) -> set[str]:
    """What an installed package needs at run time: the names of other packages."""
    stated = map(Requirement, metadata(package).get_all("Requires-Dist") or [])
    return {
        canonicalize_name(each.name)
        for each in stated
        if each.marker is None or each.marker.evaluate(OLDEST)
    }


def everything_needed() -> dict[str, set[str]]:
    """What amdcni and all that it needs need, by name; amdcni comes first."""
    needs: dict[str, set[str]] = {}
    asked = ["amdcni"]
    while asked:
        if (package := asked.pop()) not in needs:
            needs[package] = needed_by(package)
            asked.extend(needs[package])
    return needs


def licenses_of(package: str) -> Iterator[License]:
    """What a package says of its licence: an SPDX expression, or else other words."""
    about, factory = metadata(package), LicenseFactory()
    stated = about.get_all("License-Expression") or about.get_all("License")
    classified = (c for c in about.get_all("Classifier") or [] if c.startswith("License ::"))
    words = stated or [each.rpartition(" :: ")[2] for each in classified]
    yield from map(factory.make_from_string, words)


def python_component(pin: Locked) -> Component:
    """A package of the lock, with the hashes of all files that may be installed."""
    installed = metadata(pin.name)["Version"]
    if installed != pin.version:
        raise SystemExit(f"sbom: {pin.name} is {installed}, not {pin.version}: run make dist")
    purl = PackageURL("pypi", None, pin.name, pin.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in pin.sha256s],
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        bom_ref=str(purl),
        purl=purl,
        licenses=licenses_of(pin.name),
        external_references=[files],
    )


def find_c_library() -> Component | None:
    """The Debian package of the C library that the compiler of the launcher links, if it is one."""
    if shutil.which("dpkg-query") is None:
        return None
    compiler = os.environ.get("CC") or ("musl-gcc" if shutil.which("musl-gcc") else "cc")
    # What -print-file-name says is not what the wrapper musl-gcc links.
    options = ("-static", "-Wl,--trace", "-x", "c", "-", "-o", "/dev/null")
    linked = _output(compiler, *options, given="int main(void) { return 0; }\n")
    (archive,) = set(re.findall(r"[^\s(]+/libc\.a", linked))
    package = _output("dpkg-query", "--search", os.path.realpath(archive)).partition(":")[0]
    version = _output("dpkg-query", "--show", "--showformat=${Version}", package)
    return debian_component(package, version)


def debian_component(package: str, version: str) -> Component:
    """A package of Debian; the text of its licence is in the tree, and a few have a known name."""
    purl, known = PackageURL("deb", "debian", package, version), C_LIBRARIES.get(package)
    return Component(
        type=ComponentType.LIBRARY,
        name=package,
        version=version,
        bom_ref=str(purl),
        purl=purl,
        licenses=[LicenseFactory().make_from_string(known)] if known else [],
    )


def debian_in(listed: str) -> Iterator[Component]:
    """The packages of Debian in a list of `distribution.licences`."""
    for name, version in re.findall(r"^debian (\S+) (\S+) from ", listed, re.MULTILINE):
        yield debian_component(name, version)


def _output(*command: str, given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def bill(made_at: datetime, debian: Iterable[Component]) -> Bom:
    """The bill of materials of amdcni, with what it contains of Debian."""
    needs, pins = everything_needed(), locked(LOCK.read_text())
    whole = Component(
        type=ComponentType.APPLICATION,
        name="amdcni",
        version=__version__,
        bom_ref="amdcni",
        licenses=licenses_of("amdcni"),
    )
    parts = {name: python_component(pins[name]) for name in needs if name != "amdcni"}
    parts |= {component.name: component for component in debian}
    bom = Bom(components=parts.values())
    bom.metadata.component, bom.metadata.timestamp = whole, made_at
    for name, component in parts.items():
        bom.register_dependency(component, [parts[each] for each in needs.get(name, ())])
    direct = set(parts) - set(needs) | needs["amdcni"]
    bom.register_dependency(whole, [parts[each] for each in direct])
    contents = "\n".join(sorted(f"{c.bom_ref} {c.version}" for c in (whole, *parts.values())))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, f"{contents} {made_at}")
    return bom


def main(path: Path, packages: Path | None = None) -> None:
    """Write the bill, once it is known to be valid."""
    made_at = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    c_library = find_c_library()
    debian = [] if c_library is None else [c_library]
    debian += [] if packages is None else debian_in(packages.read_text())
    bom = bill(made_at, debian)
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    if (fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise SystemExit(f"sbom: {fault}")
    path.write_text(f"{text}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
