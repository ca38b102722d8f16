"""What a command owes the terminal: no traceback for Ctrl-C, a closed pipe, a full disk or a screen without glyphs.

`__main__` of each package calls `run`, which prepares the process before it imports the command, which takes seconds.
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
PIPE_CLOSED = 141  # what shells report of a program that SIGPIPE has ended

_WAIT = 0.02  # seconds, until Python is asked again whether an import has ended
_ALIKE = "tensortrain.alike"  # name of the error handler for characters that cannot be encoded
_GLYPHS = str.maketrans("×·∘–−…→↑↓↗≈│─", "x*o--.>^v/~|-")


def run(name: str, load: Callable[[], Callable[[], None]]) -> NoReturn:
    """Run a program as the only task of this process; ends with `SystemExit`.

    - A standard stream that is closed becomes one that leads nowhere.
    - A character that standard output or error cannot encode is replaced by one that looks alike, or by `?`.
    - If nobody reads standard output any more, the program ends without a word, with status 141; if it cannot be
      written for another reason, with a message and status 2. Errors of standard error are ignored.
    - Ctrl-C raises KeyboardInterrupt, and the program ends with status 130; while it is loaded, and the second time, it
      ends at once.
    - A warning is a line on standard error, without the place in the code that gave it.

    Args:
        name: name of the program, for messages.
        load: imports the program and returns its main function.
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
        sys.exit(INTERRUPTED)
    sys.exit()


@contextmanager
def reported(name: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn errors of the body's input, and KeyboardInterrupt, into a line on standard error and `SystemExit`.

    Args:
        name: of the program.
        errors: the exceptions that stand for bad input.
    """
    try:
        yield
    except errors as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def watched() -> bool:
    """Whether a person sees what is shown while a computation runs: in a terminal, or in a notebook."""
    from rich.console import Console

    return sys.stderr.isatty() or Console(stderr=True).is_jupyter


class _Interrupts:
    """Handles Ctrl-C, unless the process was started with it ignored, as shells do in the background.

    KeyboardInterrupt must not be raised while a module is imported: extension modules turn it into other errors, and
    some packages take it for a missing dependency. A program that is loaded may have files to remove; it gets the
    KeyboardInterrupt when the import has ended.

    Attributes:
        loaded: whether the program itself runs.
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
            # registered first, so called last: then Python puts handlers away, and the signal would kill it there
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)

    def leave_at_once(self) -> None:
        """From now on, end the process without raising anything."""
        if self._heard:
            signal.signal(signal.SIGINT, self._leave)
            signal.signal(signal.SIGALRM, self._leave)

    def _first(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._leave)
        signal.signal(signal.SIGALRM, self._raise)
        self._raise(number, frame)

    def _raise(self, _: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                if not self.loaded:
                    self._leave()
                signal.setitimer(signal.ITIMER_REAL, _WAIT)  # SIGALRM, for another attempt
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    def _leave(self, *_: Any) -> None:
        if os.getpid() == self._process:  # not in a worker, which has inherited the handler
            with suppress(OSError):
                os.write(2, f"{self._name}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    def _unraisable(self, problem: "sys.UnraisableHookArgs") -> None:
        """A KeyboardInterrupt raised where Python can only print it, such as in `__del__`, would be lost."""
        if issubclass(problem.exc_type, KeyboardInterrupt):
            self._leave()
        self._hook(problem)


class _Guarded(io.RawIOBase):
    """Bytes to standard output or error. Once they cannot be written, `failed` is called, and all others are dropped.

    Errors of other files are OSErrors as well. Only here are they known to be of this stream.
    """

    def __init__(self, stream: io.TextIOWrapper, failed: Callable[[OSError], None]) -> None:
        self._stream = stream  # which closes its raw stream when nobody refers to it any more
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)  # the same if Python runs unbuffered
        self._failed = failed

    def write(self, data: Any) -> int | None:
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
        return True

    def fileno(self) -> int:
        number: int = self._raw.fileno()
        return number

    def isatty(self) -> bool:
        return bool(self._raw.isatty())


def _open_closed_streams() -> None:
    """Open descriptors 0 to 2, if they are closed; otherwise the next files opened would be standard output and error,
    and whatever libraries print would be written into them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _guarded(stream: TextIO | None, failed: Callable[[OSError], None]) -> TextIO:
    """A stream that writes where `stream` does, but reports errors to `failed`; None stands for one that is closed."""
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
    def failed(error: OSError) -> None:
        if error.errno == errno.EPIPE:
            sys.exit(PIPE_CLOSED)
        print(f"{name}: standard output cannot be written: {error.strerror}; send it elsewhere", file=sys.stderr)
        sys.exit(BAD_INPUT)

    return failed


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Characters that cannot be encoded as ones that can, each as wide as before, so that tables stay aligned.

    Letters lose their accents. What nothing looks like becomes `?`, so that `10²` does not become 102.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    """
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
