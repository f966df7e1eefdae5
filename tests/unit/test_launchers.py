"""The executables run an isolated interpreter, however they are found and called.

These are the executables that are installed beside this interpreter.
"""

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

SCRIPTS = Path(sysconfig.get_path("scripts"))
PLUGIN = SCRIPTS / "amd-host-device"
COMMAND = SCRIPTS / "amdcni"

VERSION_REQUEST = json.dumps({"cniVersion": "1.1.0"})

# What an interpreter, a shell and the plugin itself would each import or run if they could.
HOSTILE_MODULES = ["sitecustomize", "usercustomize", "startup", "json", "os", "attrs", "pyroute2"]
HOSTILE_PACKAGES = ["amdcni", "amdcni_shim"]
HOSTILE_COMMANDS = ["python3", "readlink", "env", "sh"]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Return the file that hostile code leaves behind when it is run."""
    return tmp_path / "hostile code was here"


@pytest.fixture
def hostile(tmp_path: Path, marker: Path) -> Path:
    """Return a folder that is full of code that leaves the marker."""
    folder = tmp_path / "hostile"
    leave_marker = f"open({str(marker)!r}, 'w').close()\n"
    user_site = f"home/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    files = {f"{name}.py": leave_marker for name in HOSTILE_MODULES}
    files |= {f"{name}/__init__.py": leave_marker for name in HOSTILE_PACKAGES}
    files |= {"amdcni_shim/__main__.py": leave_marker, "amdcni/cli.py": leave_marker}
    files |= {f"{user_site}/usercustomize.py": leave_marker}
    files |= {f"{user_site}/hostile.pth": f"import sys; {leave_marker}"}
    files |= {name: f"#!/bin/sh\n: > '{marker}'\n" for name in ["profile", *HOSTILE_COMMANDS]}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return folder


@pytest.fixture
def surroundings(hostile: Path, marker: Path) -> dict[str, str]:
    """Return an environment in which each variable would make something run hostile code."""
    shell_function = f"() {{ : > '{marker}'; }}"
    return {
        "BASH_ENV": str(hostile / "profile"),
        "BASH_FUNC_[%%": shell_function,
        "BASH_FUNC_command%%": shell_function,
        "ENV": str(hostile / "profile"),
        "HOME": str(hostile),
        "PATH": str(hostile),
        "PYTHONBREAKPOINT": "startup.breakpoint",
        "PYTHONINSPECT": "1",
        "PYTHONPATH": str(hostile),
        "PYTHONSTARTUP": str(hostile / "startup.py"),
        "PYTHONUSERBASE": str(hostile / "home"),
        "PYTHONWARNINGS": "error::startup.Warning",
    }


def answer(
    argv: Sequence[str | Path],
    environ: Mapping[str, str] | None = None,
    cwd: Path = Path("/"),
) -> subprocess.CompletedProcess[str]:
    """Run a command with a VERSION request and no other environment than the given one."""
    return subprocess.run(
        argv,
        env={**(environ or {}), "CNI_COMMAND": "VERSION"},
        cwd=cwd,
        input=VERSION_REQUEST,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_version_is_answered(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done
    assert "1.1.0" in json.loads(done.stdout)["supportedVersions"]


def link(path: Path, target: Path | str) -> Path:
    """Make a symbolic link and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def test_the_hostile_environment_does_run_code_in_an_ordinary_interpreter(
    surroundings: Mapping[str, str], hostile: Path, marker: Path
) -> None:
    answer([sys.executable, "-c", ""], surroundings, cwd=hostile)
    assert marker.exists()


@pytest.mark.parametrize("executable", [PLUGIN, COMMAND], ids=["amd-host-device", "amdcni"])
def test_no_variable_folder_or_user_site_runs_code_in_an_executable(
    executable: Path, surroundings: Mapping[str, str], hostile: Path, marker: Path
) -> None:
    done = answer([executable, "--version"], surroundings, cwd=hostile)
    assert not marker.exists()
    assert "Traceback" not in done.stderr


def test_the_plugin_answers_in_a_hostile_environment(
    surroundings: Mapping[str, str], hostile: Path, marker: Path
) -> None:
    assert_version_is_answered(answer([PLUGIN], surroundings, cwd=hostile))
    assert not marker.exists()


def test_a_link_in_a_hostile_environment_runs_the_installed_plugin(
    surroundings: Mapping[str, str], hostile: Path, marker: Path
) -> None:
    linked = link(hostile / "amd-host-device", PLUGIN)
    assert_version_is_answered(answer([linked], surroundings, cwd=hostile))
    assert not marker.exists()


def test_a_python_home_that_does_not_exist_is_ignored() -> None:
    assert_version_is_answered(answer([PLUGIN], {"PYTHONHOME": "/nonexistent"}))


@pytest.mark.parametrize("path", [None, "", "/nonexistent"])
def test_the_plugin_needs_no_path_variable(path: str | None) -> None:
    assert_version_is_answered(answer([PLUGIN], {} if path is None else {"PATH": path}))


def test_the_plugin_is_found_in_path(tmp_path: Path) -> None:
    assert_version_is_answered(answer(["amd-host-device"], {"PATH": str(SCRIPTS)}, cwd=tmp_path))


@pytest.mark.parametrize("argv", [["./amd-host-device"], ["/bin/sh", "amd-host-device"]])
def test_the_plugin_runs_in_its_own_folder(argv: list[str]) -> None:
    assert_version_is_answered(answer(argv, cwd=SCRIPTS))


@pytest.mark.skipif(shutil.which("bash") is None, reason="only bash looks for scripts in PATH")
def test_the_plugin_runs_as_a_script_that_bash_finds(tmp_path: Path) -> None:
    bash = str(shutil.which("bash"))
    assert_version_is_answered(answer([bash, PLUGIN.name], {"PATH": str(SCRIPTS)}, cwd=tmp_path))


@pytest.mark.parametrize("path", ["", "/nonexistent", os.defpath])
def test_a_chain_of_relative_links_leads_to_the_plugin(tmp_path: Path, path: str) -> None:
    link(tmp_path / "libexec" / "amd-host-device", PLUGIN)
    linked = link(tmp_path / "cni bin" / "amd-host-device", "../libexec/amd-host-device")
    assert_version_is_answered(answer([linked], {"PATH": path}))
    assert_version_is_answered(answer([f"./{linked.name}"], {"PATH": path}, cwd=linked.parent))


def test_an_environment_whose_name_has_spaces_works(tmp_path: Path) -> None:
    home = tmp_path / "virtual environment"
    venv.create(home, symlinks=True)
    # An addsitedir() also reads the .pth file by which an editable project is found.
    packages = "".join(f"import site; site.addsitedir({p!r})\n" for p in site.getsitepackages())
    (pth,) = home.glob("lib/python*/site-packages")
    (pth / "these.pth").write_text(packages)
    plugin = Path(shutil.copy(PLUGIN, home / "bin"))
    assert_version_is_answered(answer([plugin]))
    assert_version_is_answered(answer([link(tmp_path / "cni bin" / plugin.name, plugin)]))


def test_a_copied_plugin_reports_in_json_that_its_interpreter_is_missing(tmp_path: Path) -> None:
    done = answer([shutil.copy(PLUGIN, tmp_path)])
    error = json.loads(done.stdout)
    assert done.returncode == 1
    assert error["code"] == 50
    assert "python3" in error["msg"]


def test_a_copied_command_reports_that_its_interpreter_is_missing(tmp_path: Path) -> None:
    done = answer([shutil.copy(COMMAND, tmp_path)])
    assert done.returncode == 1
    assert "no python3 beside it" in done.stderr
