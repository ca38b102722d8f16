"""TensorBoard's file of events, written in the thread that calls: so that a full disk is noticed where it matters."""

import os
import socket
import time
from pathlib import Path
from typing import Any


class EventFile:
    """A new file of scalars for TensorBoard, in `folder`, which is made if it is missing.

    Args:
        folder: of a run's events; each session adds a file.
        step: TensorBoard drops what earlier files say of this step and of later ones.

    Raises:
        OSError: the file cannot be written; the methods raise it, too.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(exist_ok=True)
        number = len(list(folder.iterdir()))
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        self._file = (folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._add(Event(step=step, file_version="brain.Event:2"))
        self._add(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
        self._file.flush()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Append scalars and flush them."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        for name, value in scalars.items():
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            self._add(Event(step=step, summary=summary))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
