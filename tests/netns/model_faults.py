"""Faults of the model plugin: a text that is in it, and what spoils it in its place."""

FAULTS: dict[str, list[tuple[str, ...]]] = {
    "version_answers_with_the_supported_versions": [
        ('"supportedVersions": VERSIONS', '"supported": VERSIONS'),
        ('"supportedVersions": VERSIONS', '"supportedVersions": "1.1.0"'),
        ("    print(json.dumps({", '    print("starting")\n    print(json.dumps({'),
    ],
    "version_needs_no_variable_but_the_command": [
        ('    if verb == "VERSION":', '    if verb == "VERSION" and environ["CNI_PATH"]:')
    ],
    "version_answers_in_a_version_that_it_supports": [('version = "1.1.0"', 'version = "0.9.9"')],
    "an_unknown_command_is_error_4": [
        ('        fail(4, f"CNI_COMMAND is {verb!r}")', "        sys.exit(0)"),
        ('fail(4, f"CNI_COMMAND', 'fail(100, f"CNI_COMMAND'),
    ],
    "add_without_a_required_variable_is_error_4_that_names_it": [
        ('"ADD": ["CNI_CONTAINERID", ', '"ADD": ['),
        ("missing: {', '.join(missing)}", "something is missing"),
    ],
    "del_without_a_required_variable_is_error_4_that_names_it": [
        ('"DEL": ["CNI_CONTAINERID", "CNI_IFNAME"]', '"DEL": ["CNI_CONTAINERID"]')
    ],
    "check_without_a_required_variable_is_error_4_that_names_it": [
        ('"CHECK": ["CNI_CONTAINERID", "CNI_NETNS", ', '"CHECK": ["CNI_CONTAINERID", ')
    ],
    "a_container_id_that_is_none_is_error_4": [
        ('fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"', 'fullmatch(r"[a-zA-Z0-9_.-]*"')
    ],
    "an_interface_name_that_cannot_be_used_is_an_error": [
        ('        fail(4, "CNI_IFNAME is none")', "        sys.exit(0)")
    ],
    "add_works_without_the_optional_variables": [
        ('"ADD": ["CNI_CONTAINERID", ', '"ADD": ["CNI_PATH", "CNI_CONTAINERID", ')
    ],
    "a_netns_that_does_not_exist_is_an_error_of_add": [
        ('                fail(8, "CNI_NETNS does not exist")', "                end(0, {})")
    ],
    "a_configuration_that_is_not_json_is_error_6": [
        ("        fail(6, str(error))", "        fail(7, str(error))"),
        ("        fail(6, str(error))", "        sys.exit(0)"),
    ],
    "a_version_that_is_not_supported_is_error_1": [
        ('        fail(1, f"cni', '        fail(7, f"cni')
    ],
    "a_configuration_without_a_network_name_is_an_error": [
        ('    if not config.get("name"):', '    if "name" not in "names":')
    ],
    "an_error_says_the_version_of_the_configuration": [
        ("    end(1, {", '    end(1, {"cniVersion": "0.1.0", ')
    ],
    "the_codes_below_100_are_those_of_the_specification": [("fail(8, ", "fail(99, ")],
    "add_makes_or_adjusts_the_interface": [
        ('peer", "name", ifname, "netns"', 'peer", "name", "eth0", "netns"'),
        ("    end(0, attach", '    print("done")\n    end(0, attach'),
    ],
    "the_result_is_as_each_version_has_it": [
        ('{} if version >= "1.0.0" else {"version": "4"}', "{}"),
        ('{} if version >= "1.0.0" else {"version": "4"}', '{"version": "4"}'),
        ('    version = config["cniVersion"]', '    version = "1.0.0"'),
        ('"dns": {},', '"dns": [],'),
        ('entry["address"], "interface": place', 'entry["address"], "interface": place + 1'),
    ],
    "the_result_tells_the_interface_and_its_sandbox": [
        ('"mac": mac, "sandbox": netns}', '"mac": mac}'),
        ('"name": ifname, "mac"', '"name": "eth0", "mac"'),
    ],
    "what_the_result_tells_of_the_interface_is_so": [
        ('"mac": mac, "sandbox"', '"mac": "02:00:00:00:00:99", "sandbox"'),
        (
            '        ip("address", "add", entry["address"]',
            '        ip("address", "add", "192.0.2.1"',
        ),
    ],
    "a_previous_result_is_part_of_the_result": [
        ('previous.get("interfaces", [])', "[]"),
        ('previous.get("ips", [])', "[]"),
    ],
    "an_interface_of_the_name_that_is_there_already_is_an_error": [
        (
            '        fail(100, f"{ifname} is there already")',
            '        ip("link", "delete", ifname, netns=netns)',
        ),
    ],
    "a_container_can_be_attached_twice_by_different_interfaces": [
        ("f'{container_id}/{ifname}'", "f'{container_id}'")
    ],
    "different_containers_can_be_attached_and_detached_at_once": [
        (
            "    given = delegate",
            '    open(STATE / "lock", "x").close()\n'
            '    import time; time.sleep(0.2); (STATE / "lock").unlink()\n'
            "    given = delegate",
        )
    ],
    "del_gives_everything_back_after_an_add_that_was_killed": [
        (
            '    ip("link", "set", cable, "up")',
            '    ip("link", "add", "stray", "type", "bridge")\n'
            "    import time; time.sleep(0.3)\n"
            '    ip("link", "delete", "stray")\n',
        ),
    ],
    "check_succeeds_silently_right_after_add": [
        ("            check(config", "            end(0, {})\n            check(config"),
        ("            check(config", '            fail(100, "wait")\n            check(config'),
    ],
    "check_fails_if_the_interface_is_missing": [
        ("            check(config", "            (config")
    ],
    "check_fails_if_an_address_is_missing": [
        (' and entry["address"] not in present', " and False")
    ],
    "check_allows_for_what_a_later_plugin_has_changed": [
        (
            "    there = links(netns)",
            '    ip("rule", netns=netns).count("\\n") > 3 and fail(100, "")\n'
            "    there = links(netns)",
        )
    ],
    "status_succeeds_silently_when_add_would_work": [
        ('            delegate("STATUS", config)', '            fail(50, "not today")')
    ],
    "gc_keeps_what_is_valid": [("if attachment not in valid", "if True")],
    "gc_gives_back_what_is_not_valid": [("if attachment not in valid", "if False")],
    "gc_can_be_repeated": [
        (
            '    for path in STATE.glob("cable*"):',
            "    for path in STATE.iterdir():\n        STATE.rmdir()",
        )
    ],
    "del_undoes_in_the_container_what_add_did": [
        (
            '    ip("link", "set", cable, "up")',
            '    ip("link", "set", cable, "up")\n'
            '    ip("link", "set", "lo", "mtu", "9000", netns=netns)',
        ),
    ],
    "what_was_on_the_host_before_add_is_there_after_del": [
        (
            '        ip("link", "delete", cable)',
            '        ip("link", "delete", cable)\n        ip("address", "flush", "dev", "eth1")',
        )
    ],
    "nothing_piles_up_on_the_host": [
        ("f'{container_id}/{ifname}'", "f'{os.getpid()}'"),
    ],
    "del_can_be_repeated": [("    if cable in links():", "    if True:")],
    "del_without_an_add_succeeds": [("    if cable in links():", "    if True:")],
    "del_succeeds_without_cni_netns": [
        ('"DEL": ["CNI_CONTAINERID", ', '"DEL": ["CNI_CONTAINERID", "CNI_NETNS", ')
    ],
    "del_succeeds_when_the_netns_is_gone": [
        (
            "            detach(config, container_id",
            "            links(netns)\n            detach(config, container_id",
        )
    ],
    "what_was_on_the_host_is_there_after_the_netns_is_gone_and_del": [
        (
            "            detach(config, container_id",
            '            os.path.exists(netns) or ip("address", "flush", "dev", "eth1")\n'
            "            detach(config, container_id",
        )
    ],
    "del_succeeds_without_a_previous_result": [
        (
            "            detach(config, container_id",
            '            config["prevResult"]\n            detach(config, container_id',
        )
    ],
    "del_of_another_container_touches_nothing_of_this_one": [
        ("f'{container_id}/{ifname}'", "f'{ifname}'")
    ],
    "a_container_can_be_attached_again_after_del": [
        ("    STATE.mkdir(exist_ok=True)", "    STATE.mkdir()"),
    ],
    "what_a_container_had_is_free_when_its_netns_is_gone_and_del_has_been": [
        (
            "    STATE.mkdir(exist_ok=True)",
            "    STATE.mkdir(exist_ok=True)\n    if list(STATE.iterdir()): fail(100, 'taken')",
            "    (STATE / cable).unlink",
            "    if os.path.exists(environ['CNI_NETNS']): (STATE / cable).unlink",
        )
    ],
    "del_after_an_add_that_failed_gives_everything_back": [
        (
            '        fail(100, f"{ifname} is there already")',
            '        ip("link", "add", "left", "type", "veth"); fail(100, "")',
        )
    ],
    "the_delegate_gets_the_same_variables": [
        ('{**environ, "CNI_COMMAND"', '{**environ, "CNI_ARGS": "", "CNI_COMMAND"')
    ],
    "the_delegate_gets_the_complete_configuration": [
        ("input=json.dumps(config)", 'input=json.dumps({"ipam": config["ipam"]})')
    ],
    "what_the_delegate_logs_is_passed_on": [
        ("stdout=subprocess.PIPE,\n", "stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,\n")
    ],
    "a_delegate_that_fails_on_add_gets_a_del_and_add_fails": [
        ('        delegate("DEL", config)\n    fail', "        pass\n    fail")
    ],
    "del_executes_the_delegate": [('    delegate("DEL", config, **variables)\n', "")],
    "del_executes_the_delegate_when_the_netns_is_gone": [
        (
            '    delegate("DEL", config, **variables)',
            '    if os.path.exists(environ.get("CNI_NETNS", "")):\n'
            '        delegate("DEL", config, **variables)',
        )
    ],
    "an_error_of_the_delegate_on_del_is_an_error": [
        (
            '    fail(answer["code"], answer["msg"])',
            '    if verb != "DEL": fail(answer["code"], answer["msg"])',
        )
    ],
    "check_executes_the_delegate_and_passes_its_error_on": [
        ('    delegate("CHECK", config)\n', ""),
        (
            '    fail(answer["code"], answer["msg"])',
            '    if verb != "CHECK": fail(answer["code"], answer["msg"])',
        ),
    ],
    "status_executes_the_delegate_and_passes_its_error_on": [
        ('            delegate("STATUS", config)', "            pass"),
        (
            '    fail(answer["code"], answer["msg"])',
            '    if verb != "STATUS": fail(answer["code"], answer["msg"])',
        ),
    ],
    "gc_executes_the_delegate": [('    delegate("GC", config)\n', "")],
}
"""By the clause that has to find it; a fault may be in several places."""
