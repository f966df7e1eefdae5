"""What the failures themselves know."""

from amdcni.core.errors import AmdcniError, PluginFailed


def test_a_failure_without_details_has_none_to_tell() -> None:
    assert AmdcniError("later").details == ""


def test_a_failure_of_a_plugin_has_all_that_its_error_object_said() -> None:
    said = PluginFailed("bridge", 11, "later", "the address is in use")
    assert (said.plugin, said.code) == ("bridge", 11)
    assert (said.message, str(said), said.details) == ("later", "later", "the address is in use")
    assert PluginFailed("bridge", 11, "later").details == ""
