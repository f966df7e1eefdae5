"""What failures themselves contain."""

from amdcni.core.errors import AmdcniError, PluginFailed


def test_a_failure_without_details_has_empty_details() -> None:
    assert AmdcniError("later").details == ""


def test_a_failure_of_a_plugin_keeps_everything_in_its_error_object() -> None:
    said = PluginFailed("bridge", 11, "later", "the address is in use")
    assert (said.plugin, said.code) == ("bridge", 11)
    assert (said.message, str(said), said.details) == ("later", "later", "the address is in use")
    assert PluginFailed("bridge", 11, "later").details == ""
