"""Names, line by line, what of old asynchat and asyncore programs will not carry over to trio_chat, and what to do.

`python -m trio_chat.compat.check FILE…` reads the sources, and neither imports nor runs them. Name all files of a
program at once, or its directory: classes are followed from one to the other.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence

from ._check_exceptions import check_exceptions
from ._check_findings import Finding, Report
from ._check_kinds import KINDS, Kind
from ._check_machinery import check_machinery
from ._check_output import as_json, as_text
from ._check_program import Program
from ._check_reach import Reach
from ._check_selection import Glance, Selection, glance_at
from ._check_sockets import check_sockets
from ._check_sources import Source, Unusable, parse, python_files, read_text
from ._check_text import check_text
from ._check_threads import check_threads
from ._check_waiting import check_waiting

_EPILOG = """\
Suppress a line's findings by a comment on it: # trio-chat: ignore[TC101], or without brackets for all of them.
Exit status: 0 if nothing was found, 1 if hazards were (notes do not count), 2 if a file could not be checked, or if the
command line is wrong.
"""


def check_sources(sources: list[Source], glances: list[Glance]) -> list[Finding]:
    """All findings in these files, notes included, by path and line; the glances may be at others, too."""
    report = Report()
    try:
        program = Program(sources, glances)
        reach = Reach(program)
        for check in (check_machinery, check_sockets, check_waiting, check_threads, check_exceptions, check_text):
            check(program, reach, report)
    except RecursionError:
        if len(sources) == 1:
            report.add_finding(_of_file(sources[0].path, Unusable("TC903", "is nested too deeply to be checked")))
            return report.sorted()
        return _sorted([finding for source in sources for finding in check_sources([source], glances)])
    return report.sorted()


def check_files(paths: Iterable[str]) -> tuple[list[Finding], int]:
    """The findings in these files and directories, and how many files there were.

    Of what is found in directories, only files that have to do with asynchat are parsed, and none but these are kept.
    """
    named = set(paths := list(paths))
    glances: list[Glance] = []
    sources: list[Source] = []
    found: list[Finding] = []
    files = 0
    for path in python_files(paths):
        files += 1
        name = path.path if isinstance(path, Unusable) else "<stdin>" if path == "-" else path
        try:
            if isinstance(path, Unusable):
                raise path
            text = read_text(path)
            glance = glance_at(name, text)
            if path in named:
                source = parse(name, text)
                if glance.is_old or not os.path.isfile(path):  # a pipe cannot be read again
                    sources.append(source)
            glances.append(glance)
        except Unusable as exc:
            found.append(_of_file(name, exc))
    parsed = {source.path for source in sources}
    for name in sorted(Selection(glances).select() - parsed):
        try:
            sources.append(parse(name, read_text(name)))
        except Unusable as exc:
            found.append(_of_file(name, exc))
    return _sorted([*found, *check_sources(sources, glances)]), files


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.path, finding.line, finding.column))


def _of_file(path: str, problem: Unusable) -> Finding:
    advice = problem.advice or KINDS[problem.code].advice
    return Finding(path, problem.line, problem.column, problem.code, problem.message, advice, problem.source)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m trio_chat.compat.check",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", metavar="FILE", help="a file, a directory, or - for standard input")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--notes", action="store_true", help="show notes as well")
    parser.add_argument("--select", type=_codes, metavar="CODES", help="only these: TC5,TC101")
    parser.add_argument("--ignore", type=_codes, metavar="CODES", default=(), help="all but these")
    parser.add_argument("--list", action="store_true", help="list all codes")
    parser.add_argument("--explain", type=_code, metavar="CODE", help="what a code means, and what to do about it")
    options = parser.parse_args(arguments)
    if options.list or options.explain:
        kinds = [options.explain] if options.explain else list(KINDS.values())
        sys.stdout.write("".join(map(_explained, kinds)))
        return 0
    if not options.paths:
        parser.error("name files or directories, or - for standard input")
    found, files = check_files(options.paths)
    found = [
        finding for finding in found if finding.of_a_file or _is_wanted(finding.code, options.select, options.ignore)
    ]
    notes = options.notes or options.select is not None
    shown = [finding for finding in found if notes or finding.kind.severity != "note"]
    output = as_json(shown) if options.format == "json" else as_text(shown, files, len(found) - len(shown))
    sys.stdout.write(f"{output}\n")
    if any(finding.of_a_file for finding in found):
        return 2
    return int(any(finding.kind.severity != "note" for finding in shown))


def _is_wanted(code: str, selected: tuple[str, ...] | None, ignored: tuple[str, ...]) -> bool:
    return (selected is None or code.startswith(selected)) and not code.startswith(ignored)


def _codes(text: str) -> tuple[str, ...]:
    """Codes, or the beginnings of some, between commas."""
    codes = tuple(code for code in text.upper().replace(" ", "").split(",") if code)
    for code in codes:
        if not any(known.startswith(code) for known in KINDS):
            raise argparse.ArgumentTypeError(f"no code begins with {code!r}; see --list")
    return codes


def _code(text: str) -> Kind:
    try:
        return KINDS[text.upper()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"there is no code {text!r}; see --list") from None


def _explained(kind: Kind) -> str:
    advice = textwrap.fill(kind.advice, 110, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False)
    return f"{kind.code} {kind.severity}: {kind.meaning}\n{advice}\n"


def _run() -> int:
    gc.disable()  # it would look through all syntax trees again and again, and they are no garbage
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # as by: … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(_run())
