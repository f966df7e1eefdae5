"""`amdcni conformance`: whether a CNI plugin does what CNI SPEC 1.1 requires."""

import argparse
import os
from pathlib import Path
from typing import IO

from amdcni.cli.printing import for_programs, print_value


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Judge the plugin; 1 if it lacks what it must do, 2 if it was not judged, 130 if interrupted.

    A report that cannot be written is 2 as well.
    """
    try:
        from amdcni.testing.conformance import findings, reports, running, subject
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
        files=tuple(filter(None, (options.markdown, options.html))),
    )
    found: list[findings.Finding] = []
    try:
        with findings.shown_while_found(found, stderr) as report:
            run = running.judge(wanted, report)
    except KeyboardInterrupt:  # before there was anything to judge
        stderr.write("amdcni: interrupted\n")
        return 130
    except subject.CannotJudge as fault:
        stderr.write(f"amdcni: {fault}\n")
        return 2
    name = os.path.basename(options.plugin)
    judgement = reports.Judgement(name, found, run.no_add, run.not_tried)
    if for_programs(options):
        print_value(findings.as_json(found), options, stdout)
        if judgement.warning is not None:
            stderr.write(f"amdcni: {judgement.warning}\n")
    else:
        reports.print_text(judgement, stdout, only_failed=options.failed)
    for path, make in ((options.markdown, reports.as_markdown), (options.html, reports.as_html)):
        if path is not None:
            Path(path).write_text(make(judgement), encoding="utf-8")
    if run.interrupted:
        stderr.write("amdcni: interrupted; the other clauses were not tried\n")
        return 130
    if not judgement.is_judged:
        return 2
    return 1 if judgement.broken else 0
