"""Where the suite's time goes: `python -m pytest -p tests.cpu_seconds` ends with a table.

Seconds are those of processors, of the test's own process and of the processes that it
waited for: on a machine that others use too they stay what they are. What a fixture takes
counts for the test that first needs it.
"""

import os
from collections import Counter

import pytest

MOST = 25  # rows of each table
STARTED = pytest.StashKey[float]()
TAKEN = Counter()


def seconds():
    return sum(os.times()[:4])  # user and system, then those of ended children


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    item.stash[STARTED] = seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Each report takes what has passed since the one before: set-up, call, tear-down."""
    report = yield
    now = seconds()
    report.cpu_seconds = now - item.stash[STARTED]
    item.stash[STARTED] = now
    return report


def pytest_runtest_logreport(report):
    TAKEN[report.nodeid] += report.cpu_seconds


def pytest_terminal_summary(terminalreporter):
    of_files = Counter()
    for name, taken in TAKEN.items():
        of_files[name.partition("::")[0]] += taken
    for title, counted in (("file", of_files), ("test", TAKEN)):
        whole = f"{sum(counted.values()):.0f} s of processor time in {len(counted)}"
        terminalreporter.section(f"{whole} {title}s")
        for name, taken in counted.most_common(MOST):
            terminalreporter.write_line(f"{taken:8.1f}  {name}")
