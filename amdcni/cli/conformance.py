"""`amdcni conformance`: whether a CNI plugin does what CNI SPEC 1.1 requires."""

import argparse
from typing import IO

from amdcni.cli.printing import for_programs, print_value


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Judge the plugin; 1 if a clause fails, 2 if nothing could be judged, 130 if interrupted."""
    try:
        from amdcni.testing.conformance import findings, running, subject
    except ModuleNotFoundError as missing:
        stderr.write(
            f"amdcni: {missing.name} is missing: the conformance suite is a part of the test kit, "
            "which is amdcni's extra testing; install that into a Python environment of its own, "
            "as in pip install 'PATH[testing]' with the path of the wheel or checkout\n"
        )
        return 2
    wanted = running.Wanted(
        plugin=options.plugin,
        config=options.config,
        path=options.path,
        ifname=options.ifname,
        timeout_s=options.timeout,
        junit=options.junit,
        only=tuple(options.only),
        skip=tuple(options.skip),
    )
    found: list[findings.Finding] = []
    interrupted = False
    try:
        with findings.shown_while_found(found, stderr) as report:
            running.judge(wanted, report)
    except KeyboardInterrupt:
        interrupted = True
    except subject.CannotJudge as fault:
        stderr.write(f"amdcni: {fault}\n")
        return 2
    if for_programs(options):
        print_value(findings.as_json(found), options, stdout)
    else:
        findings.print_table(found, options.plugin, stdout)
    if interrupted:
        stderr.write("amdcni: interrupted; the other clauses were not tried\n")
        return 130
    return 1 if any(each.verdict is findings.Verdict.FAILED for each in found) else 0
