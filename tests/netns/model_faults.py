"""Faults for the model plugins: a text that is in them, and a faulty one to replace it."""

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
    "an_unknown_command_is_an_error": [
        ('        fail(4, f"CNI_COMMAND is {verb!r}")', "        sys.exit(0)")
    ],
    "an_unknown_command_is_error_4": [('fail(4, f"CNI_COMMAND', 'fail(100, f"CNI_COMMAND')],
    "a_call_without_a_command_is_an_error": [
        ('    if verb == "VERSION":', '    if not verb: sys.exit(0)\n    if verb == "VERSION":')
    ],
    "a_call_without_a_required_variable_is_an_error": [
        ('"ADD": ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]', '"ADD": []'),
        ('"DEL": ["CNI_CONTAINERID", "CNI_IFNAME"]', '"DEL": ["CNI_CONTAINERID"]'),
    ],
    "add_without_a_required_variable_is_error_4_that_names_it": [
        ('fail(4, f"missing', 'fail(7, f"missing'),
        ("missing: {', '.join(missing)}", "something is missing"),
    ],
    "del_without_a_required_variable_is_error_4_that_names_it": [
        ("missing: {', '.join(missing)}", "missing: CNI_IFNAME")
    ],
    "check_without_a_required_variable_is_error_4_that_names_it": [
        ("missing: {', '.join(missing)}", "missing: CNI_IFNAME")
    ],
    "a_container_id_that_is_none_is_an_error": [
        ('fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"', 'fullmatch(r"[a-zA-Z0-9_.-]*"')
    ],
    "a_container_id_that_is_none_is_error_4": [
        ('fail(4, "CNI_CONTAINERID is invalid")', 'fail(100, "CNI_CONTAINERID is invalid")')
    ],
    "an_interface_name_that_cannot_be_used_is_an_error": [
        ('        fail(4, "CNI_IFNAME is invalid")', "        sys.exit(0)")
    ],
    "add_works_without_the_optional_variables": [
        ('"ADD": ["CNI_CONTAINERID", ', '"ADD": ["CNI_PATH", "CNI_CONTAINERID", ')
    ],
    "a_netns_that_does_not_exist_is_an_error_of_add": [
        ('                fail(8, "CNI_NETNS does not exist")', "                end(0, {})")
    ],
    "a_configuration_that_is_not_json_is_an_error": [
        ("        fail(6, str(error))", "        sys.exit(0)")
    ],
    "a_configuration_that_is_not_json_is_error_6": [
        ("        fail(6, str(error))", "        fail(7, str(error))")
    ],
    "a_version_that_is_not_supported_is_an_error": [
        (
            "        fail(1, f\"cniVersion {config.get('cniVersion')!r}\")",
            '        config["cniVersion"] = VERSIONS[-1]',
        )
    ],
    "a_version_that_is_not_supported_is_error_1": [
        ('        fail(1, f"cni', '        fail(7, f"cni')
    ],
    "a_configuration_without_a_network_name_is_an_error": [
        ('config.get("name"):', 'config.setdefault("name", "default"):')
    ],
    "an_error_is_told_as_an_object": [
        ('    end(1, {"code": code, "msg": msg})', "    sys.exit(1)"),
        ('"msg": msg}', '"message": msg}'),
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
        ('    version = config["cniVersion"]', '    version = "1.0.0"'),
        ('previous.get("dns", {})', "[]"),
        # Without an answer to VERSION, the version of the configuration applies.
        ('previous.get("dns", {})', "[]", '"supportedVersions": VERSIONS', '"supported": VERSIONS'),
        ('entry["address"], "interface": place', 'entry["address"], "interface": place + 1'),
        ('{"mtu": link["mtu"]}', '{"mtu": str(link["mtu"])}'),
        (
            'VERSIONS = ["0.3.1", ',
            'VERSIONS = ["0.2.0", "0.3.1", ',
            "not in VERSIONS:",
            'not in VERSIONS or config["cniVersion"] == "0.2.0":',
        ),
    ],
    "the_result_tells_the_interface_and_its_sandbox": [
        ('"sandbox": netns, **mtu', "**mtu"),
        ('"name": ifname, "mac"', '"name": "eth0", "mac"'),
    ],
    "what_the_result_tells_of_the_interface_is_so": [
        ('"mac": link["address"]', '"mac": "02:00:00:00:00:99"'),
        ('{"mtu": link["mtu"]}', '{"mtu": 9000}'),
    ],
    "the_interfaces_on_the_host_that_the_result_tells_are_there": [
        ('{"name": cable, "mac"', '{"name": "eth9", "mac"'),
        ('"mac": links()[cable]["address"]', '"mac": link["address"]'),
    ],
    "an_address_is_on_the_interface_that_it_points_to": [
        ('entry["address"], "interface": place', 'entry["address"], "interface": place - 1'),
        (
            '        ip("address", "add", entry["address"]',
            '        ip("address", "add", "198.51.100.99/24"',
        ),
    ],
    "the_routes_that_the_result_tells_are_there": [
        (
            '        ip("route", "append", entry["dst"]',
            '        ip("route", "append", "192.0.2.0/29"',
        ),
        ('result["routes"].append(entry)', 'result["routes"] += [{"dst": "192.0.2.0/29"}]'),
        ('result["routes"].append(entry)', 'result["routes"] += [{**entry, "gw": "192.0.2.1"}]'),
    ],
    "a_previous_result_is_part_of_the_result": [
        ('previous.get("interfaces", [])', "[]"),
        ('previous.get("ips", [])', "[]"),
        ('previous.get("routes", [])', "[]"),
        ('previous.get("dns", {})', "{}"),
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
        ),
        (
            "    addresses = [entry",
            "    count = len(list(STATE.iterdir())); import time; time.sleep(0.3)\n"
            '    given["ips"][0]["address"] = f"198.51.100.{100 + count}/24"\n'
            "    addresses = [] and [entry",
        ),
    ],
    "del_gives_everything_back_after_an_add_that_was_killed": [
        (
            '    ip("link", "set", cable, "up")',
            '    ip("link", "add", "stray", "type", "bridge")\n'
            "    import time; time.sleep(0.3)\n"
            '    ip("link", "delete", "stray")\n',
        ),
    ],
    "check_succeeds_right_after_add": [
        ("            check(config", '            fail(100, "wait")\n            check(config')
    ],
    "check_succeeds_for_a_route_by_the_gateway_of_the_address": [
        ('if entry["dst"] not in routes:', 'if entry["dst"] not in routes or "gw" not in entry:')
    ],
    "a_check_that_succeeds_is_silent": [
        ("            check(config", "            end(0, {})\n            check(config")
    ],
    "check_fails_if_the_interface_is_missing": [
        ("            check(config", "            (config")
    ],
    "check_fails_if_an_address_is_missing": [
        (' and entry["address"] not in present', " and False")
    ],
    "check_fails_if_a_route_is_missing": [('if entry["dst"] not in routes:', "if False:")],
    "check_allows_for_what_a_later_plugin_has_changed": [
        (
            "    there = links(netns)",
            '    ip("rule", netns=netns).count("\\n") > 3 and fail(100, "")\n'
            "    there = links(netns)",
        )
    ],
    "status_succeeds_when_add_would_work": [
        ('            delegate("STATUS", config)', '            fail(50, "not today")')
    ],
    "a_status_that_succeeds_is_silent": [
        ('            delegate("STATUS", config)', "            end(0, {})")
    ],
    "gc_keeps_what_is_valid": [('and record["id"] not in valid', "")],
    "gc_of_a_network_keeps_what_is_of_another": [('record["network"] == config["name"]', "True")],
    "gc_gives_back_what_is_not_valid": [('record["id"] not in valid', "False")],
    "gc_tells_two_attachments_of_a_container_apart": [
        ('record["id"] not in valid', 'record["id"][0] not in [id for id, _ in valid]')
    ],
    "a_gc_that_succeeds_is_silent": [
        ("            collect(config)", "            collect(config)\n            end(0, {})")
    ],
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
    "a_del_that_succeeds_is_silent": [
        ("            detach(config", "            print()\n            detach(config")
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
        *(
            ("{**environ, ", f'{{**environ, **({{{name!r}: ""}} if verb == {verb!r} else {{}}), ')
            for verb, name in (
                ("ADD", "CNI_ARGS"),
                ("DEL", "CNI_NETNS"),
                ("CHECK", "CNI_IFNAME"),
                ("STATUS", "CONFORMANCE"),
                ("GC", "CNI_PATH"),
            )
        ),
        ("{**environ, ", '{**{n: v for n, v in environ.items() if n.startswith("CNI_")}, '),
    ],
    "the_delegate_gets_the_complete_configuration": [
        *(
            (
                "input=json.dumps(config)",
                f'input=json.dumps({{**config, "name": ""}} if verb == {verb!r} else config)',
            )
            for verb in ("ADD", "DEL", "CHECK", "STATUS", "GC")
        )
    ],
    "what_the_delegate_gives_is_applied_and_told": [
        ('"add", entry["address"]', '"add", "198.51.100.99/24"'),
        ('"dst"], "via", gateway', '"dst"], "via", "198.51.100.253"'),
        ('        result["routes"].append(entry)\n', ""),
        (
            '        result["ips"].append({"address": entry["address"], ',
            '        result["ips"].append({"address": "198.51.100.99/24", ',
        ),
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
"""Faults, by the clause that has to find them; a fault may be in several places."""

FAULTS_OF_IPAM: dict[str, list[tuple[str, ...]]] = {
    "the_result_of_an_ipam_plugin_is_abbreviated": [
        ('number}/29", **family', 'number}/29", "interface": 0, **family'),
        ('{"ips"', '{"interfaces": [{"name": "net1"}], "ips"'),
    ],
    "an_address_that_del_gave_back_can_be_had_again": [
        ("            path.unlink()", "            pass")
    ],
}
