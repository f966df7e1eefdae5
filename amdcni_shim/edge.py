"""From errors to CNI error objects: the one place that knows CNI error codes."""

import gc
import json
import os
import traceback
from typing import Final

from amdcni.core import errors
from amdcni.core.versions import NEWEST, SUPPORTED

PLUGIN_CODES_FROM: Final = 100
"""CNI SPEC 1.1 §5: codes from here on are a plugin's own."""

INTERNAL: Final = 999
"""A fault of this software, which is not an `AmdcniError`."""

LARGE_BYTES: Final = 64 * 1024
"""A larger configuration must not be in memory twice: decoded, it can take far more than this."""

CODES: Final[dict[type[errors.AmdcniError], int]] = {
    errors.UnsupportedVersion: 1,
    errors.UnsupportedField: 2,
    errors.UnknownAttachment: 3,
    errors.InvalidEnvironment: 4,
    errors.StateFailure: 5,
    errors.UndecodableInput: 6,
    errors.InvalidConfiguration: 7,
    errors.InvalidName: 7,
    errors.TryAgainLater: 11,
    errors.NotAvailable: 50,
    errors.AmdcniError: 100,
    errors.DeviceNotFound: 101,
    errors.DeviceAmbiguous: 102,
    errors.DeviceProtected: 103,
    errors.IfnameTaken: 104,
    errors.KernelRefused: 105,
    errors.PluginNotFound: 106,
    errors.PluginBroken: 107,
    errors.CheckFailed: 108,
    errors.InstallFailed: 109,
}
"""The code of each class; a class that is not listed has that of the nearest one above it."""


def code_of(failure: BaseException) -> int:
    """The CNI error code for `failure`; the code of a failed plugin is passed on."""
    if isinstance(failure, errors.PluginFailed):
        return failure.code
    return next((CODES[cls] for cls in type(failure).__mro__ if cls in CODES), INTERNAL)


def error_object(failure: BaseException, version: str) -> dict[str, object]:
    """The JSON error object of CNI SPEC 1.1 §5, in `version`.

    What else went wrong (`add_note`) goes into `details`, and so does the place of a fault of this
    software.
    """
    notes = getattr(failure, "__notes__", [])
    if isinstance(failure, errors.AmdcniError):
        msg, details = failure.message, [failure.details, *notes]
    else:
        place = traceback.extract_tb(failure.__traceback__)[-1]
        msg = f"internal error: {type(failure).__name__}: {failure}"
        details = [f"at {os.path.basename(place.filename)}:{place.lineno}", *notes]
    shown = "; ".join(detail for detail in details if detail)
    error: dict[str, object] = {"cniVersion": version, "code": code_of(failure), "msg": msg}
    return {**error, "details": shown} if shown else error


def error_answer(failure: BaseException, data: bytes) -> dict[str, object]:
    """The JSON error object of a call that has failed, in the version of its configuration."""
    error = error_object(failure, NEWEST)
    if len(data) > LARGE_BYTES:
        # The frames of the failure keep what was decoded, also through cycles with other failures.
        failure.__traceback__ = failure.__context__ = None
        gc.collect()
    return {**error, "cniVersion": version_said(data)}


def version_said(data: bytes) -> str:
    """The cniVersion of a configuration, however broken the rest; the newest if it says none."""
    try:
        said = json.loads(data).get("cniVersion")
    except (ValueError, AttributeError, RecursionError):
        return NEWEST
    return said if said in SUPPORTED else NEWEST
