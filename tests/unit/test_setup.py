"""What `scripts/setup.sh` says where something is missing that it does not install."""

import shutil
import subprocess
from pathlib import Path

SETUP = Path(__file__).parents[2] / "scripts/setup.sh"


def test_without_python_it_says_which_package_has_it(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(SETUP, tmp_path / "scripts")
    bare = tmp_path / "bin"
    bare.mkdir()
    for tool in ("sh", "dirname"):
        (bare / tool).symlink_to(str(shutil.which(tool)))
    done = subprocess.run(
        [str(bare / "sh"), script, "venv", "run"],
        env={"PATH": str(bare)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(": apt-get install python3")
