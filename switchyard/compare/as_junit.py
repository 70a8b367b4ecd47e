"""A comparison as JUnit XML, for what shows test results: a test case a cell, and a route's time.

Worse is a failure, but of mistakes made on purpose, which count for nobody; not comparable is
skipped with its reason, all else passes, also what is worse and was allowed to be. Where nothing
could be compared at all there is one error, since no report of an empty night may be green.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as etree
from collections.abc import Sequence

from switchyard.compare import saying, sentences, tallies
from switchyard.compare.comparison import Comparison
from switchyard.tables import schema

#: What XML 1.0 has no way to write, not even as a reference.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """``text`` with a sign for each character that XML 1.0 cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)


def document(comparison: Comparison, only: Sequence[str] = ()) -> bytes:
    """The file, in UTF-8. ``only`` narrows the cells that have a test case; those that became worse
    have one all the same, since the file is to say no less than the exit status."""
    cells, worse = comparison.cells, comparison.became_worse
    if only:
        shown = cells["verdict"].isin(list(only)) | worse
        cells, worse = cells[shown], worse[shown]
    name = f"{comparison.before.label} against {comparison.after.label}"
    suite = etree.Element("testsuite", name=clean(name))
    failures = skipped = errors = routes = 0
    properties = etree.SubElement(suite, "properties")
    for number, text in enumerate(sentences.around(comparison), 1):
        etree.SubElement(properties, "property", name=f"about.{number}", value=clean(text))
    if comparison.status == 2:
        errors = 1
        case = _case(suite, "switchyard.compare", "something is compared")
        etree.SubElement(case, "error", message=clean(sentences.conclusion(comparison)),
                         type="nothing")  # fmt: skip
    for row, failed in zip(cells.to_dict("records"), worse):
        cell = schema.cell_of(row)
        group = f"{cell.version_set}:{cell.device}:{cell.precision}"
        case = _case(suite, group, cell.short)
        verdict, said = row["verdict"], clean(saying.figures(row))
        if failed:
            failures += 1
            message = f"{verdict}: {said}"
            element = etree.SubElement(case, "failure", type=verdict, message=message)
            element.text = clean(saying.error_line(row))
        elif verdict == "not-comparable":
            skipped += 1
            etree.SubElement(case, "skipped", message=said)
        elif verdict != "same":
            etree.SubElement(case, "system-out").text = f"{verdict}: {said}"
    for row in [] if comparison.times is None else comparison.times.to_dict("records"):
        group = ":".join(row[name] for name in tallies.GROUPS[:-1] if name in row)
        case = _case(suite, group, f"time of {row['route']}")
        said = f"{row['change']:.2f} times ({sentences.interval(row)}), {row['models']} models"
        if row["status"] == "slower" and "slower" not in comparison.allowed:
            failures += 1
            etree.SubElement(case, "failure", type="slower", message=f"slower: {said}")
        elif row["status"] != "as-before":
            etree.SubElement(case, "system-out").text = f"{row['status']}: {said}"
        routes += 1
    tests = len(cells) + errors + routes
    counts = {"tests": tests, "failures": failures, "errors": errors, "skipped": skipped}
    root = etree.Element("testsuites")
    for element in (root, suite):
        for key, count in counts.items():
            element.set(key, str(count))
    root.append(suite)
    etree.indent(root, " ")
    return etree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _case(suite: etree.Element, group: str, name: str) -> etree.Element:
    return etree.SubElement(suite, "testcase", classname=clean(group), name=clean(name), time="0")
