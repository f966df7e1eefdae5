"""The one hierarchy of failures.

An error is raised where the facts are known and says what is wrong, the offending value, and what
to do.  Only `amdcni_shim.edge` knows which CNI code a class has.
"""


class AmdcniError(Exception):
    """Anything that this library refuses or fails to do; `details` may say more."""

    def __init__(self, message: str, *, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidName(AmdcniError):
    """A string does not fit the grammar of its type (`amdcni.core.names`)."""


class InvalidEnvironment(AmdcniError):
    """A CNI_* variable is missing or malformed; the message names it."""


class UndecodableInput(AmdcniError):
    """Bytes that should be JSON of a known shape are not."""


class InvalidConfiguration(AmdcniError):
    """The network configuration contradicts itself or lacks what the verb needs."""


class InvalidManifest(InvalidConfiguration):
    """A Kubernetes object, or what several of them say together, cannot be carried out.

    The message names the object and the key.
    """


class InvalidSettings(InvalidConfiguration):
    """What was set of the manifests is wrong; the message names every fault."""


class UnsupportedVersion(AmdcniError):
    """A cniVersion that is not supported, or a verb that this version does not have."""


class UnsupportedField(AmdcniError):
    """A configuration key whose value this version of the software cannot honour."""


class UnknownAttachment(AmdcniError):
    """No record of this (container ID, ifname) exists, and nothing has to be cleaned up."""


class StateFailure(AmdcniError):
    """The state folder cannot be read or written."""


class StateTooNew(StateFailure):
    """A record was written by a newer version of this software and is left untouched."""


class DamagedRecord(StateFailure):
    """A file of the state folder is not a record; it is set aside under another name."""


class TryAgainLater(AmdcniError):
    """The work cannot be done now; the same call may succeed later."""


class DeviceBusy(TryAgainLater):
    """Another call works on this device and did not end in time."""


class DeviceHeld(TryAgainLater):
    """A live attachment of another container holds the device."""


class RestoreIncomplete(TryAgainLater):
    """The host does not have everything back yet; the record is kept."""


class NetdevLost(TryAgainLater):
    """The netdev of a record is neither on the host nor in the pod: gone, or held elsewhere."""


class RdmaLost(TryAgainLater):
    """An RDMA device of a record is neither on the host nor in the pod: on its way, or gone."""


class NotAvailable(AmdcniError):
    """An ADD could not succeed on this node now (CNI SPEC 1.1, STATUS)."""


class DeviceNotFound(AmdcniError):
    """The device that the configuration names does not exist or has no netdev."""


class DeviceAmbiguous(AmdcniError):
    """The configuration fits several netdevs; one has to be chosen."""


class DeviceProtected(AmdcniError):
    """This netdev is not lent: the node needs it, or something else on the node does."""


class PolicyDenies(DeviceProtected):
    """The node's policy does not let this definition, or any, have the device."""


class RdmaImmovable(DeviceProtected):
    """An RDMA device of the NIC cannot follow it into the pod."""


class IfnameTaken(AmdcniError):
    """The requested CNI_IFNAME already exists in the pod."""


class KernelRefused(AmdcniError):
    """The kernel answered a request with an error."""


class PluginNotFound(AmdcniError):
    """No executable of this name on CNI_PATH or in the fallback folders."""


class PluginBroken(AmdcniError):
    """A called plugin gave no usable answer: no JSON, killed, or out of time."""


class PluginFailed(AmdcniError):
    """A called plugin answered with a CNI error object, which is passed on as it is.

    `code`, the message and `details` are the object's own.
    """

    def __init__(self, plugin: str, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg, details=details)
        self.plugin = plugin
        self.code = code


class CheckFailed(AmdcniError):
    """The attachment is not what its ADD promised; the message lists every difference."""


class InstallFailed(AmdcniError):
    """The program cannot be installed on this node, or removed from it, as things are."""


class Failures:
    """A context that collects failures, so that what follows still runs; see `raise_first`."""

    def __init__(self) -> None:
        self.seen: list[AmdcniError] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, failure: BaseException | None, __: object) -> bool:
        if isinstance(failure, AmdcniError):
            self.seen.append(failure)
            return True
        return False

    def raise_first(self) -> None:
        """Raise the first failure, if there was one, with notes of the others."""
        if self.seen:
            first, *others = self.seen
            for other in others:
                first.add_note(str(other))
            raise first
