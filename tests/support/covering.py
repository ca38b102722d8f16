"""Run tests in a forked process: with a module replaced by a mutant, or noting which lines each test runs."""

import ast
import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import hypothesis
import pytest

from tests.conftest import FIXED

ROOT = Path(__file__).parents[2]
MEMORY = 2 * 2**30  # bytes; a mutant may ask for any amount
SECONDS = 60  # of computing, for the tests of one mutant at most
OPTIONS = ("-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT))


class Recorder:
    """A plugin for pytest: which lines of some modules each test of a file runs, and how many seconds it computes."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = {str(ROOT / path): path for path in paths}
        self.lines: dict[str, set[int]] = {}
        self.tests: dict[str, dict[str, Any]] = {}
        self.shared: dict[str, set[int]] = {path: set() for path in paths}  # by fixtures, for whichever test is first
        self.passed: dict[str, bool] = {}

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        """For `sys.settrace`."""
        path = self.paths.get(frame.f_code.co_filename)
        if path is None:
            return None
        seen = self.lines.setdefault(path, set())
        seen.add(frame.f_code.co_firstlineno)

        def line(frame: FrameType, event: str, arg: object) -> Any:
            seen.add(frame.f_lineno)
            return line

        return line

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        """Lines that fixtures run belong to every test of the file."""
        self.lines = {}
        sys.settrace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            for path, lines in self.lines.items():
                self.shared[path] |= lines

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Lines of the test itself."""
        self.lines, start = {}, time.process_time()
        sys.settrace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            lines = {path: sorted(lines) for path, lines in self.lines.items()}
            self.tests[item.nodeid] = {"seconds": time.process_time() - start, "lines": lines}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that does not pass without a mutant says nothing about any."""
        self.passed[report.nodeid] = self.passed.get(report.nodeid, True) and report.passed

    def result(self) -> dict[str, Any]:
        """For every test that passed its seconds and its lines, those of fixtures included."""
        kept = {name: test for name, test in self.tests.items() if self.passed[name]}
        for test in kept.values():
            for path, lines in self.shared.items():
                if lines:
                    test["lines"][path] = sorted(lines | set(test["lines"].get(path, ())))
        return kept


class Session:
    """A plugin for pytest that runs no test by itself, but some of those collected, in a process for each mutant."""

    def __init__(self, work: Callable[["Session"], None]) -> None:
        self.work = work
        self.items: dict[str, pytest.Item] = {}
        self.failed: str | None = None

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of pytest's own."""
        session.config.pluginmanager.unregister(name="terminalreporter")  # which would print a letter for each test
        self.items = {item.nodeid: item for item in session.items}
        self.work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the first that fails."""
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def first_failure(self, path: str, source: str, tests: Mapping[str, float]) -> str | None:
        """The first of the tests that fails if a module has this text; None if all pass.

        A test that dies, or computes for much longer than the seconds that `tests` says it takes, fails too.
        """

        def run() -> list[str | None]:
            replace(path, source)
            items = [self.items[name] for name in tests]
            for item, following in zip(items, [*items[1:], None], strict=True):
                end = min(SECONDS, math.ceil(time.process_time() + 4 + 4 * tests[item.nodeid]))
                resource.setrlimit(resource.RLIMIT_CPU, (end, SECONDS))
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self.failed is not None:
                    break
            return [self.failed]

        answer: list[str | None] = forked(run, SECONDS) or ["the process ended"]
        return answer[0]


def replace(path: str, source: str) -> None:
    """Give the functions of an imported module the code of another text, and all modules its other values."""
    module = sys.modules[path.removesuffix(".py").replace("/", ".")]
    new: dict[str, Any] = {**vars(module)}
    exec(compile(source, str(ROOT / path), "exec"), new)
    for name, old in list(vars(module).items()):
        if isinstance(old, type) and old.__module__ == module.__name__:
            for key, value in list(vars(old).items()):
                _replace_code(value, vars(new[name]).get(key))
        elif not _replace_code(old, new[name]) and name in _assigned(source):
            for user in [user for user in sys.modules.values() if vars(user).get(name) is old]:
                setattr(user, name, new[name])


def _assigned(source: str) -> set[str]:
    """Names of a module's own values."""
    targets = [node.targets for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {target.id for several in targets for target in several if isinstance(target, ast.Name)}


def _replace_code(old: Any, new: Any) -> bool:
    """Give a function, also one that is wrapped, the code and defaults of another; False if it is none."""
    for attribute in ("__wrapped__", "__func__", "fget", "func"):
        if getattr(old, attribute, None) is not None and not isinstance(old, type):
            return _replace_code(getattr(old, attribute), getattr(new, attribute))
    if not isinstance(old, FunctionType) or not isinstance(new, FunctionType):
        return False
    if len(old.__code__.co_freevars) == len(new.__code__.co_freevars):
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
    return True


def coverage(file: str, paths: Sequence[str]) -> dict[str, Any]:
    """Which lines of some modules each test of a file runs."""

    def run() -> dict[str, Any]:
        recorder = Recorder(paths)
        pytest.main([*OPTIONS, str(ROOT / file)], plugins=[recorder])
        return recorder.result()

    answer: dict[str, Any] = forked(run, 10 * SECONDS) or {}
    return answer


def run_session(files: Sequence[str], work: Callable[[Session], None]) -> None:
    """Collect tests once and hand the session to `work`."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # that a test fails suffices, by any example
    hypothesis.settings.register_profile("mutants", hypothesis.settings(FIXED, phases=phases))
    options = [*OPTIONS, "--tb=native", "--hypothesis-profile=mutants"]
    assert pytest.main([*options, *files], plugins=[Session(work)]) == pytest.ExitCode.OK


def forked(run: Callable[[], Any], seconds: int) -> Any:
    """What a function returns in a process of its own; None if that dies or computes for longer."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()  # what the child starts ends with it
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        answer = json.dumps(run()).encode()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, 20 * seconds)  # a machine may be busy; asleep is another thing
    try:
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.waitpid(child, 0)
    return json.loads(answer) if answer else None
