"""`--processes N`: N processes run the tests. They are forked from the one that has collected them.

Each process of pytest-xdist imports and collects all tests by itself: a tenth of what the suite costs. Here one process collects, forks,
hands out one group of tests after another (mark `xdist_group`, as pytest-xdist does with `--dist loadgroup`), and reports what the others
tell it. A process that dies fails the test that it ran, and another takes its place. `PYTEST_XDIST_WORKER` is the number of each, as there.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processes", type=int, default=1, help="run the tests in so many processes, which collect them once")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    n_processes = session.config.getoption("processes")
    if n_processes < 2 or session.config.option.collectonly or session.testsfailed:
        return None
    _Loop(session, n_processes).run()
    return True


@dataclass(eq=False)
class _Process:
    """One that runs tests, as the parent sees it."""

    number: int
    pid: int
    pipe: Connection
    running: list[str] = field(default_factory=list)
    """Tests that have begun and not ended: one, or none."""
    waiting: list[int] = field(default_factory=list)
    """Tests of its group that have not begun, by their place among all."""


class _Loop:
    """The parent: hands out groups and reports."""

    def __init__(self, session: pytest.Session, n_processes: int) -> None:
        self._session, self._config = session, session.config
        groups: dict[str, list[int]] = {}
        for i, item in enumerate(session.items):
            mark = item.get_closest_marker("xdist_group")
            groups.setdefault(str(mark.args[0]) if mark else item.nodeid, []).append(i)
        self._left = list(reversed(groups.values()))
        self._n_processes = min(n_processes, len(groups))
        self._processes: list[_Process] = []
        self._folder = self._config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]

    def run(self) -> None:
        try:
            for number in range(self._n_processes):
                self._fork(number)
            while self._processes:
                ready = wait([process.pipe for process in self._processes])
                for process in [one for one in self._processes if one.pipe in ready]:
                    self._take(process)
                if self._session.shouldfail or self._session.shouldstop:
                    self._left.clear()
            if self._session.shouldfail:
                raise self._session.Failed(self._session.shouldfail)
            if self._session.shouldstop:
                raise self._session.Interrupted(self._session.shouldstop)
        finally:
            for process in self._processes:  # interrupted: each ends with its pipe, after its test
                process.pipe.close()

    def _fork(self, number: int) -> None:
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            for other in self._processes:
                other.pipe.close()
            _run_and_exit(self._session, theirs, number, self._folder / f"gw{number}-{os.getpid()}")
        theirs.close()
        self._processes.append(_Process(number, pid, ours))

    def _take(self, process: _Process) -> None:
        try:
            kind, value = process.pipe.recv()
        except (EOFError, ConnectionError):
            self._ended(process)
            return
        hook = self._config.hook
        if kind == "next":
            process.waiting = self._left.pop() if self._left else []
            with contextlib.suppress(BrokenPipeError):
                process.pipe.send(process.waiting)
        elif kind == "begin":
            process.running.append(value[0])
            process.waiting = process.waiting[1:]
            hook.pytest_runtest_logstart(nodeid=value[0], location=value[1])
        elif kind == "report":
            hook.pytest_runtest_logreport(report=hook.pytest_report_from_serializable(config=self._config, data=value))
        elif kind == "end":
            process.running.remove(value[0])
            hook.pytest_runtest_logfinish(nodeid=value[0], location=value[1])
        else:
            assert kind == "error", kind
            self._fail(f"end of process {process.number}", value)

    def _ended(self, process: _Process) -> None:
        self._processes.remove(process)
        process.pipe.close()
        code = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        for nodeid in process.running:
            self._fail(nodeid, f"The process that ran this test ended with {code}.")
        if code != 0 and not process.running:
            self._fail(f"process {process.number}", f"It ended with {code}.")
        if process.waiting:
            self._left.append(process.waiting)
        if code != 0 and self._left:
            self._fork(process.number)

    def _fail(self, nodeid: str, why: str) -> None:
        report = pytest.TestReport(
            nodeid=nodeid,
            location=(nodeid, None, nodeid),
            keywords={},
            outcome="failed",
            longrepr=why,
            when="call",
            sections=[],
            duration=0.0,
        )
        self._config.hook.pytest_runtest_logreport(report=report)


class _Following:
    """Stands for "the test after this one", which is asked for only when this one has ended: until then another process may take it."""

    def __init__(self, tests: Iterator[pytest.Item]) -> None:
        self._tests = tests
        self._test: list[pytest.Item | None] = []

    def test(self) -> pytest.Item | None:
        if not self._test:
            self._test.append(next(self._tests, None))
        return self._test[0]

    def __bool__(self) -> bool:
        return self.test() is not None

    def listchain(self) -> list[Any]:
        """As of an item: whose fixtures stay. Pytest asks nothing else."""
        test = self.test()
        return test.listchain() if test is not None else []


class _Teller:
    """A plug-in of a process that runs tests: tells the parent what it has to report."""

    def __init__(self, config: pytest.Config, pipe: Connection) -> None:
        self._config, self._pipe = config, pipe

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._pipe.send(("begin", (nodeid, location)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._pipe.send(("report", self._config.hook.pytest_report_to_serializable(config=self._config, report=report)))

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._pipe.send(("end", (nodeid, location)))


def _run_and_exit(session: pytest.Session, pipe: Connection, number: int, folder: Any) -> NoReturn:
    """What a forked process does. It never returns to the loop of the parent."""
    code = 1
    try:
        _prepare(session.config, pipe, number, folder)
        _run_groups(session, pipe)
        session.config.hook.pytest_sessionfinish(session=session, exitstatus=0)
        session.config._ensure_unconfigure()
        code = 0
    except (BrokenPipeError, ConnectionResetError, EOFError, KeyboardInterrupt):
        session.config.hook.pytest_sessionfinish(session=session, exitstatus=2)  # the parent has gone: stop what runs
    except BaseException:
        with contextlib.suppress(OSError):
            pipe.send(("error", traceback.format_exc()))
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _prepare(config: pytest.Config, pipe: Connection, number: int, folder: Any) -> None:
    """Part from the parent: a number, a folder, captured output and reports of its own."""
    os.environ["PYTEST_XDIST_WORKER"] = f"gw{number}"
    plugins: Any = config.pluginmanager
    capture = plugins.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    config.workerinput = {}  # type: ignore[attr-defined]  # pytest's plug-ins then leave the cache and the reports to another process
    factory = config._tmp_path_factory  # type: ignore[attr-defined]
    factory._given_basetemp, factory._basetemp, factory._exit_stack = folder, None, ExitStack()
    terminal = plugins.unregister(name="terminalreporter")
    plugins.register(SimpleNamespace(_tw=terminal._tw), "terminalreporter")  # where pytest-timeout writes what all threads did
    plugins.register(_Teller(config, pipe))


def _run_groups(session: pytest.Session, pipe: Connection) -> None:
    tests = _handed_out(session, pipe)
    item = next(tests, None)
    while item is not None:
        following = _Following(tests)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        item = following.test()


def _handed_out(session: pytest.Session, pipe: Connection) -> Iterator[pytest.Item]:
    while True:
        pipe.send(("next", None))
        group = pipe.recv()
        if not group:
            return
        for i in group:
            yield session.items[i]
