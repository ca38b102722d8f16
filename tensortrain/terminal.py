"""Correct behaviour of commands in a terminal: no traceback for Ctrl-C, closed pipes, full disks or missing glyphs.

The `__main__` module of each package calls `run`, which prepares the process before the slow import of the command.
"""

import atexit
import codecs
import errno
import io
import os
import signal
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TextIO

BAD_INPUT = 2
INTERRUPTED = 130
PIPE_CLOSED = 141  # the status that shells report for a program that SIGPIPE has ended

_WAIT = 0.02  # seconds between two checks whether an import has ended
_ALIKE = "tensortrain.alike"  # name of the error handler for characters that cannot be encoded
_GLYPHS = str.maketrans("×·∘–−…→↑↓↗≈│─", "x*o--.>^v/~|-")


def run(name: str, load: Callable[[], Callable[[], None]]) -> NoReturn:
    """Run a program as the only task of this process, which ends with `SystemExit`.

    - A standard stream that is closed is replaced by the null device.
    - A character that standard output or error cannot encode is replaced by one that looks alike, or by `?`.
    - If the reader of standard output has closed it, the program ends without a message and with status 141. If
      standard output cannot be written for another reason, the program ends with a message and status 2. Errors of
      standard error are ignored.
    - Ctrl-C raises KeyboardInterrupt, and the program ends with a line that says so and with status 130. While the
      program is being loaded, and at the second Ctrl-C, it ends at once.
    - A warning is printed as one line on standard error, without its place in the code.

    Args:
        name: name of the program, for messages.
        load: function that imports the program and returns its main function.
    """
    _open_closed_streams()
    codecs.register_error(_ALIKE, _replace)
    sys.stdout, sys.stderr = _guarded(sys.stdout, _output_failed(name)), _guarded(sys.stderr, lambda error: None)
    warnings.formatwarning = lambda message, *_, **__: f"{name}: warning: {' '.join(str(message).split())}\n"
    interrupts = _Interrupts(name)
    try:
        try:
            program = load()
            interrupts.loaded = True
            program()
        finally:
            interrupts.leave_at_once()
            sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit()


@contextmanager
def reported(name: str, *errors: type[Exception]) -> Iterator[None]:
    """Print errors about bad input as one line on standard error and raise `SystemExit`.

    Args:
        name: name of the program, for messages.
        errors: the exception types that mean bad input.
    """
    try:
        yield
    except errors as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(BAD_INPUT)


def watched() -> bool:
    """Return whether a person sees the progress of a computation, in a terminal or in a notebook."""
    from rich.console import Console

    return sys.stderr.isatty() or Console(stderr=True).is_jupyter


class _Interrupts:
    """Handles Ctrl-C, unless it was ignored when the process started, as it is for background jobs of a shell.

    KeyboardInterrupt must not be raised while a module is imported: extension modules turn it into other errors, and
    some packages mistake it for a missing dependency. A program that runs already may have files to remove, so it gets
    the KeyboardInterrupt as soon as the import has ended.

    Attributes:
        loaded: whether the program is loaded and runs.
    """

    def __init__(self, name: str) -> None:
        self.loaded = False
        self._name, self._process = name, os.getpid()
        self._hook = sys.unraisablehook
        handler = signal.getsignal(signal.SIGINT)
        self._heard = handler is signal.default_int_handler and sys.platform != "win32"
        if self._heard:
            signal.signal(signal.SIGINT, self._first)
            sys.unraisablehook = self._unraisable
            # registered first, so called last: then Python removes its handlers, and a signal would kill the process
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)

    def leave_at_once(self) -> None:
        """End the process at the next Ctrl-C without raising anything.

        A Ctrl-C that still waits for the end of an import is dropped: there is nothing left to interrupt, and its alarm
        would kill the process once Python has removed its handlers.
        """
        if self._heard:
            signal.signal(signal.SIGINT, self._leave)
            signal.signal(signal.SIGALRM, self._leave)  # for an alarm that has gone off already
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _first(self, number: int, frame: FrameType | None) -> None:
        """Handle the first Ctrl-C by a KeyboardInterrupt; the second ends the process at once."""
        signal.signal(signal.SIGINT, self._leave)
        signal.signal(signal.SIGALRM, self._raise)
        self._raise(number, frame)

    def _raise(self, _: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, now or as soon as the current import has ended."""
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                if not self.loaded:
                    self._leave()
                signal.setitimer(signal.ITIMER_REAL, _WAIT)  # SIGALRM, for another attempt
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    def _leave(self, *_: Any) -> None:
        """Print a message and end the process at once."""
        if os.getpid() == self._process:  # workers inherit the handler, but must not print
            with suppress(OSError):
                os.write(2, f"{self._name}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    def _unraisable(self, problem: "sys.UnraisableHookArgs") -> None:
        """End the process for a KeyboardInterrupt where Python could only print it, such as in `__del__`."""
        if issubclass(problem.exc_type, KeyboardInterrupt):
            self._leave()
        self._hook(problem)


class _Guarded(io.RawIOBase):
    """A raw stream to standard output or error that calls `failed` at the first error and then drops all further bytes.

    OSErrors of other files look the same, so only this class can tell that an error belongs to this stream.
    """

    def __init__(self, stream: io.TextIOWrapper, failed: Callable[[OSError], None]) -> None:
        self._stream = stream  # kept, because its raw stream is closed when it is deleted
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)  # an unbuffered stream has no `raw`
        self._failed = failed

    def write(self, data: Any) -> int | None:
        """Write bytes, or report the error and redirect the stream to the null device."""
        try:
            written: int | None = self._raw.write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            self._failed(error)
            return len(data)
        return written

    def writable(self) -> bool:
        """Return that the stream can be written."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        number: int = self._raw.fileno()
        return number

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return bool(self._raw.isatty())


def _open_closed_streams() -> None:
    """Open the null device in place of each closed descriptor from 0 to 2.

    Otherwise the next files that are opened would become standard output and error, and libraries would print into
    them.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _guarded(stream: TextIO | None, failed: Callable[[OSError], None]) -> TextIO:
    """Return a stream that writes where `stream` does but reports errors to `failed`; None means a closed stream."""
    if not isinstance(stream, io.TextIOWrapper):
        return open(os.devnull, "w", encoding="utf-8")
    guarded = _Guarded(stream, failed)
    return io.TextIOWrapper(
        guarded if stream.write_through else io.BufferedWriter(guarded),  # type: ignore[type-var]
        encoding=stream.encoding,
        errors=_ALIKE,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _output_failed(name: str) -> Callable[[OSError], None]:
    """Return the function that ends the program after an error of standard output."""

    def failed(error: OSError) -> None:
        """End the program, silently if the reader of standard output has closed it."""
        if error.errno == errno.EPIPE:
            sys.exit(PIPE_CLOSED)
        print(f"{name}: standard output cannot be written: {error.strerror}; send it elsewhere", file=sys.stderr)
        sys.exit(BAD_INPUT)

    return failed


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that cannot be encoded by others of the same width, so that tables stay aligned.

    Letters lose their accents. A character without a similar ASCII character becomes `?`, so that `10²` does not become
    102.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    """Return an ASCII text that looks like `character` and is equally wide.

    >>> [_plain(character) for character in "×é²≠字"]
    ['x', 'e', '?', '?', '??']
    """
    if unicodedata.combining(character):
        return ""
    alike = character.translate(_GLYPHS)
    letter = unicodedata.normalize("NFD", character)[0]
    if alike.isascii():
        return alike
    if letter.isascii() and letter.isalpha():
        return letter
    return "??" if unicodedata.east_asian_width(character) in "WF" else "?"
