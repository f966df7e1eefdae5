"""What a plugin may do differently from the model: a text that is in it, and a replacement."""

_ATTACHMENTS_OF_LIBCNI = ("cni.dev/valid-attachments", "cni.dev/attachments")
_TALKING = (
    '    match verb:\n        case "ADD":',
    '    verb == "ADD" or print("done")\n    match verb:\n        case "ADD":',
)
_SPEECHLESS = ('    end(1, {"code": code, "msg": msg})', "    sys.exit(1)")

RIGHT: dict[str, list[tuple[str, ...]]] = {
    "version_answers_in_a_version_that_it_supports": [
        (
            '        end(0, {"supportedVersions"',
            '        end(0, {**json.load(sys.stdin), "supportedVersions"',
        )
    ],
    "a_configuration_that_is_not_json_is_error_6": [
        ("fail(6, str(error))", f"fail(6 if error.doc else {code}, str(error))") for code in (5, 7)
    ],
    "different_containers_can_be_attached_and_detached_at_once": [
        (
            '    addresses = [entry["address"].partition("/")[0] for entry in given["ips"]]',
            '    given["ips"][0]["address"] = "198.51.100.99/24"; addresses = []',
        )
    ],
    "gc_keeps_what_is_valid": [_ATTACHMENTS_OF_LIBCNI, _TALKING],
    "gc_gives_back_what_is_not_valid": [
        _ATTACHMENTS_OF_LIBCNI,
        (
            'and record["id"] not in valid',
            'and record["id"] not in valid and path.name not in links()',
        ),
    ],
    "del_of_another_container_touches_nothing_of_this_one": [
        (
            "            detach(config, container_id, ifname)",
            '            for netdev in config.get("prevResult", {}).get("interfaces", []):\n'
            '                netdev["name"] in links() and ip("link", "delete", netdev["name"])\n'
            "            detach(config, container_id, ifname)",
        )
    ],
    **{
        name: [_TALKING]
        for name in (
            "check_succeeds_right_after_add",
            "del_can_be_repeated",
            "del_without_an_add_succeeds",
            "gc_can_be_repeated",
            "status_succeeds_when_add_would_work",
        )
    },
    **{
        name: [_SPEECHLESS]
        for name in (
            "a_call_without_a_required_variable_is_an_error",
            "a_configuration_that_is_not_json_is_an_error",
            "a_netns_that_does_not_exist_is_an_error_of_add",
            "a_version_that_is_not_supported_is_an_error",
            "an_error_of_the_delegate_on_del_is_an_error",
            "an_interface_of_the_name_that_is_there_already_is_an_error",
            "an_unknown_command_is_an_error",
        )
    },
}
"""Variants that are correct too, by the clause that must accept them."""
