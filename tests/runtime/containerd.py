"""A real containerd on a node with an init, with folders of its own."""

from pathlib import Path

from attrs import define, field

from tests.patience import wait_until
from tests.runtime.cri import Cri, Refused
from tests.runtime.image import PAUSE, write_pause
from tests.runtime.machine import Machine, Process
from tests.runtime.packages import Unpacked

BIN_DIR = "/opt/cni/bin"
CONF_DIR = "/run/cni/net.d"
SOCKET = "/run/containerd/containerd.sock"
NAMESPACE = "k8s.io"
"""The namespace of containerd in which the kubelet's containers and images are."""

_CONFIG = """
version = 2
root = "{folder}/root"
state = "/run/containerd/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{bin_dir}"
    conf_dir = "{conf_dir}"
    max_conf_num = 8
"""


@define
class Containerd:
    """The container runtime of a node, whose files that outlive it are in `folder`."""

    machine: Machine
    packages: Unpacked
    folder: Path
    process: Process | None = field(default=None, init=False)
    cri: Cri = field(init=False)

    def set_up(self) -> None:
        """Start it for the first time, with the image of sandboxes."""
        self.folder.mkdir()
        words = {"folder": self.folder, "socket": SOCKET, "pause": PAUSE}
        config = _CONFIG.format(**words, bin_dir=BIN_DIR, conf_dir=CONF_DIR)
        (self.folder / "config.toml").write_text(config)
        write_pause(self.packages.busybox, self.folder / "pause.tar")
        self.start()
        self.load(self.folder / "pause.tar")

    def start(self) -> None:
        """Start it; it serves, with the networks loaded, when this returns."""
        words = ["env", "containerd", f"--config={self.folder}/config.toml"]
        self.process = self.machine.start("containerd", words, self.packages.environment)
        self.cri = Cri.at(self.machine.root / SOCKET.lstrip("/"))
        wait_until(self.is_ready, "containerd is ready")

    def is_ready(self) -> bool:
        """Return whether it serves and has networks for its sandboxes."""
        assert self.process is not None
        assert self.process.is_alive(), self.process.log.read_text()
        try:
            status = self.cri.call("Status")
        except Refused:
            return False
        return all(condition.get("status") for condition in status["status"]["conditions"])

    def kill(self) -> None:
        """Kill it, but none of what it has started."""
        assert self.process is not None
        self.process.kill()
        self.cri.close()

    def load(self, archive: Path) -> None:
        """Import the images of an archive."""
        words = ["env", "ctr", f"--address={SOCKET}", f"--namespace={NAMESPACE}", "images"]
        self.output_of([*words, "import", "--snapshotter=native", str(archive)])

    def output_of(self, argv: list[str]) -> str:
        """Return what a program that came with containerd prints, which must succeed."""
        environment = self.packages.environment
        done = self.machine.inside.run(argv, env=environment)
        assert done.returncode == 0, done
        return done.stdout.decode()
