"""What the JSON files of a store hold. This module imports pydantic, so it is imported where a file is read."""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, InstanceOf, with_config
from typing_extensions import TypedDict

_STRICT = ConfigDict(extra="forbid", strict=True)

Text = InstanceOf[str]  # names of files need not be Unicode
Count = Annotated[int, Field(ge=1, lt=2**63)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Shape = Annotated[list[Count], Field(min_length=3, max_length=3)]
FirstLast = Annotated[list[Count], Field(min_length=2, max_length=2)]


@with_config(_STRICT)
class Origin(TypedDict):
    """What a clip was decoded from, and to which size `(C, H, W)`, and how; `ranges` are KTH's."""

    source: Text
    stamp: Text
    shape: Shape
    ranges: NotRequired[list[FirstLast]]
    resize: NotRequired[Literal["crop"]]


@with_config(_STRICT)
class Clip(Origin):
    """A decoded clip: its number of frames, the SHA-256 of the video and of the stored file, and the latter's size."""

    frames: Count
    source_sha256: Sha256
    sha256: Sha256
    bytes: Count


@with_config(_STRICT)
class Skipped(Origin):
    """A video that cannot be used: why, and the state of its file at that time."""

    skipped: Text
    state: int


@with_config(_STRICT)
class Manifest(TypedDict):
    """A finished store: the clips that it holds, and why others could not be used."""

    shape: Shape
    clips: dict[Text, Clip]
    skipped: dict[Text, Text]


@with_config(_STRICT)
class Checked(TypedDict):
    """For each clip whose bytes were compared with their checksum, what its file looked like then."""

    stamps: dict[Text, str]
