"""What `make dist` makes: the same files every time, which install and run without the checkout."""

import email
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import amdcni
from amdcni import __version__

ROOT = Path(amdcni.__file__).parents[1]
STAMP = Path(sys.prefix, "dist.stamp")

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        importlib.util.find_spec("build") is None or not STAMP.exists(),
        reason="what makes a release is not installed; make dist does that",
    ),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]


def run(*command: str | Path, cwd: Path = Path("/"), **environ: str) -> str:
    """What a command says that is run without this environment's variables for Python and make."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MAKE", "MFLAGS"))}
    done = subprocess.run(
        command, cwd=cwd, env=kept | environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_dist(folder: Path, umask: str = "022", **environ: str) -> Path:
    """Make a release, in an environment that is left as it is because other tests run in it."""
    options = f"--assume-old='{STAMP}' VENV='{sys.prefix}' DIST='{folder}'"
    run("sh", "-c", f"umask {umask}; exec make {options} dist", cwd=ROOT, **environ)
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(tmp_path_factory.mktemp("dist") / "made")


def wheel_in(folder: Path) -> Path:
    return folder / f"amdcni-{__version__}-py3-none-any.whl"


def sdist_in(folder: Path) -> Path:
    return folder / f"amdcni-{__version__}.tar.gz"


def test_the_sums_are_those_of_all_files(dist: Path) -> None:
    files = {path.name: path for path in dist.iterdir() if path.name != "SHA256SUMS"}
    listed = {name: sha256 for sha256, name in (line.split("  ") for line in dist_sums(dist))}
    assert listed == {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in files.items()}
    assert {wheel_in(dist).name, sdist_in(dist).name, f"amdcni-{__version__}.cdx.json"} <= set(
        files
    )


def dist_sums(folder: Path) -> list[str]:
    return (folder / "SHA256SUMS").read_text().splitlines()


def test_a_release_is_the_same_whenever_and_by_whomever_it_is_made(
    dist: Path, tmp_path: Path
) -> None:
    again = make_dist(tmp_path / "again", umask="077", TZ="Asia/Tokyo", LC_ALL="C", HOME="/none")
    assert dist_sums(again) == dist_sums(dist)


def test_the_wheel_from_the_checkout_is_that_from_the_sdist(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist_in(dist)) as packed:
        time = packed.getmembers()[0].mtime
    asked = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ".")
    run(*asked, cwd=ROOT, SOURCE_DATE_EPOCH=str(int(time)))
    assert wheel_in(tmp_path).read_bytes() == wheel_in(dist).read_bytes()


def test_the_sdist_has_every_file_of_the_repository(dist: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a checkout")
    tracked = run("git", "ls-files", cwd=ROOT).splitlines()
    with tarfile.open(sdist_in(dist)) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    assert {path for path in tracked if (ROOT / path).exists()} - packed == set()
    assert {path for path in packed if path.startswith((".venv", ".git/", "dist/"))} == set()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the locked packages as wheels."""
    folder = tmp_path_factory.mktemp("wheels")
    lock = ROOT / "requirements/run.txt"
    asked: list[str | Path] = [
        "-m",
        "pip",
        "wheel",
        "--require-hashes",
        "--no-deps",
        "-r",
        lock,
        "-w",
        folder,
    ]
    run(sys.executable, *asked)
    return folder


@pytest.fixture(scope="module")
def home(dist: Path, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment into which the release was installed from files alone."""
    folder = tmp_path_factory.mktemp("installed") / "amdcni"
    venv.create(folder, with_pip=True, symlinks=True)
    pip = (folder / "bin/python3", "-I", "-m", "pip", "--disable-pip-version-check", "install")
    run(*pip, "--no-index", "--find-links", wheels, wheel_in(dist))
    return folder


def test_what_is_installed_runs_without_the_checkout(home: Path) -> None:
    answer = json.loads(run(home / "bin/amd-host-device", CNI_COMMAND="VERSION"))
    assert "1.1.0" in answer["supportedVersions"]
    assert run(home / "bin/amdcni", "--version") == f"amdcni {__version__}\n"
    assert run(home / "bin/python3", "-I", "-m", "amdcni", "--version") == f"amdcni {__version__}\n"
    assert "attachments" in run(home / "bin/amdcni", "--help")
    where = "import amdcni, amdcni_agent.serving as a, amdcni_shim.__main__ as s; "
    paths = run(
        home / "bin/python3", "-I", "-c", f"{where}print(amdcni.__file__, a.__file__, s.__file__)"
    )
    assert [path for path in paths.split() if not path.startswith(f"{home}/")] == []


def test_the_static_launcher_of_a_release_starts_what_is_installed(dist: Path, home: Path) -> None:
    (launcher,) = dist.glob(f"amd-host-device-static-{__version__}-*")
    installed = Path(shutil.copy(launcher, home / "bin/amd-host-device-static"))
    assert "supportedVersions" in json.loads(run(installed, CNI_COMMAND="VERSION"))
    # With the variable CNI_COMMAND only, it has to start Python to say what is wrong.
    asked = subprocess.run(
        [installed], env={"CNI_COMMAND": "ADD"}, capture_output=True, check=False
    )
    assert json.loads(asked.stdout)["code"] == 4


def commands_under(heading: str) -> str:
    """The first commands in a section of the installation guide, up to the next heading."""
    page = (ROOT / "docs/how-to/install.md").read_text()
    (section,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)^#", page, re.M | re.S)
    return str(re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)[0])


def test_the_installation_guide_installs_a_release_by_hand(
    dist: Path, wheels: Path, tmp_path: Path
) -> None:
    links = [line for line in commands_under("Install").splitlines() if "pip" not in line][1:]
    commands = "\n".join(
        [commands_under("From the files of a release"), *links, commands_under("Man pages")]
    )
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    for folder in ("/opt", "/usr/local"):
        commands = re.sub(rf"(^|(?<= )){folder}/", f"{tmp_path}{folder}/", commands, flags=re.M)
    environ = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    environ["PATH"] = f"{sys.prefix}/bin:{os.environ['PATH']}"
    run("sh", "-euxc", commands, cwd=dist, **environ)
    answer = run(tmp_path / "opt/cni/bin/amd-host-device", CNI_COMMAND="VERSION")
    assert "supportedVersions" in json.loads(answer)
    said = run(tmp_path / "usr/local/bin/amdcni", "--version")
    assert said == f"amdcni {__version__}\n"
    for page in ROOT.glob("man/man*/*"):
        linked = tmp_path / "usr/local/share/man" / page.relative_to(ROOT / "man")
        assert linked.read_text() == page.read_text()


def test_each_module_can_be_imported_from_what_is_installed(home: Path) -> None:
    needs_testing = ("amdcni.testing", "amdcni.pytest_plugin")
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("amdcni", "amdcni_shim", "amdcni_agent")
        for path in (ROOT / package).rglob("*.py")
    ]
    program = "".join(f"import {name}\n" for name in names if not name.startswith(needs_testing))
    run(home / "bin/python3", "-I", "-c", program)


def test_types_and_man_pages_are_installed(home: Path) -> None:
    (packages,) = home.glob("lib/python*/site-packages")
    typed = {path.parent.name for path in packages.glob("amdcni*/py.typed")}
    assert typed == {"amdcni", "amdcni_agent", "amdcni_shim"}
    pages = {path.relative_to(home / "share/man") for path in home.glob("share/man/man*/*")}
    assert pages == {path.relative_to(ROOT / "man") for path in ROOT.glob("man/man*/*")}
    assert Path("man8/amd-host-device.8") in pages


def test_the_test_kit_says_how_it_is_installed(home: Path) -> None:
    asked: list[str | Path] = [home / "bin/amdcni", "conformance", "--plugin", "/bin/true"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'PATH[testing]'" in done.stderr


def normal(name: str) -> str:
    """The name of a package in the one spelling that indexes compare."""
    return re.sub("[-_.]+", "-", name).lower()


def components_in(folder: Path) -> dict[str, Any]:
    bill = json.loads((folder / f"amdcni-{__version__}.cdx.json").read_text())
    return {part["name"]: part for part in bill["components"]}


def test_the_bill_of_materials_lists_what_is_installed_and_what_is_linked(
    dist: Path, home: Path
) -> None:
    listed = components_in(dist)
    program = "from importlib.metadata import distributions as found; "
    program += "print(*(f'{each.name}=={each.version}' for each in found()))"
    pins = run(home / "bin/python3", "-I", "-c", program).split()
    installed = {normal(name): version for name, version in (pin.split("==") for pin in pins)}
    for other in ("amdcni", "pip", "setuptools"):
        installed.pop(other, None)
    assert installed.items() <= {name: part["version"] for name, part in listed.items()}.items()
    debian = {name for name, part in listed.items() if part["purl"].startswith("pkg:deb/")}
    # Only old Pythons need typing-extensions.
    assert set(listed) - set(installed) - debian <= {"typing-extensions"}
    assert [n for n, part in listed.items() if not part.get("licenses") and n not in debian] == []


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="a tree is built from Debian's files")
def test_the_bill_of_materials_lists_what_is_in_the_tree(dist: Path, tmp_path: Path) -> None:
    (archive,) = dist.glob(f"amdcni-{__version__}-tree-*.tar.gz")
    run("tar", "-xf", archive, "-C", tmp_path)
    packages = (tmp_path / "tree/share/licenses/PACKAGES").read_text()
    inside = dict(re.findall(r"^debian (\S+) (\S+) from ", packages, re.MULTILINE))
    assert {"libc6", "python3.11-minimal"} <= set(inside)
    listed = {name: part["version"] for name, part in components_in(dist).items()}
    assert inside.items() <= listed.items()
    image = dist / f"amdcni-{__version__}.oci.tar"
    (entry,) = json.loads(run("tar", "-xOf", image, "index.json"))["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == __version__


def test_the_hashes_in_the_bill_of_materials_are_those_of_the_files(
    dist: Path, wheels: Path
) -> None:
    for path in wheels.iterdir():
        name = normal(path.name.partition("-")[0])
        if name in components_in(dist):
            (files,) = components_in(dist)[name]["externalReferences"]
            digests = {each["content"] for each in files["hashes"]}
            assert hashlib.sha256(path.read_bytes()).hexdigest() in digests


def metadata_in(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (n for n in packed.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(packed.read(name))


def test_addresses_come_from_one_setting_and_from_nothing_else(dist: Path, tmp_path: Path) -> None:
    bare = metadata_in(wheel_in(dist))
    addresses: Sequence[str] = [k for k in bare if "URL" in k or "Home" in k or "Author" in k]
    assert addresses == []
    assert "](docs/" not in str(bare.get_payload())
    with tarfile.open(sdist_in(dist)) as packed:
        packed.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    (tree / "PKG-INFO").unlink()
    project, hook = tree / "pyproject.toml", "[tool.hatch.metadata.hooks.custom]\n"
    repository = "https://git.example/owner/amdcni"
    text = project.read_text()
    project.write_text(text.replace(hook, f'{hook}repository = "{repository}"\n'))
    run(sys.executable, "-m", "build", "-n", "--wheel", "--outdir", tmp_path, ".", cwd=tree)
    placed = metadata_in(wheel_in(tmp_path))
    urls = dict(str(url).split(", ") for url in placed.get_all("Project-URL", []))
    assert urls["Source"] == repository
    assert f"]({repository}/blob/v{__version__}/docs/" in str(placed.get_payload())
    run(sys.executable, "-m", "twine", "check", "--strict", wheel_in(tmp_path))
