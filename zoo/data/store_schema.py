"""The content of a store's JSON files. This module imports pydantic, so it is imported only when a file is read."""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, InstanceOf, with_config
from typing_extensions import TypedDict

_STRICT = ConfigDict(extra="forbid", strict=True)

Text = InstanceOf[str]  # file names need not be valid Unicode
Count = Annotated[int, Field(ge=1, lt=2**63)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Shape = Annotated[list[Count], Field(min_length=3, max_length=3)]
FirstLast = Annotated[list[Count], Field(min_length=2, max_length=2)]


@with_config(_STRICT)
class Origin(TypedDict):
    """The source of a clip, the shape `(C, H, W)` it was decoded to, and how. KTH's clips have `ranges`."""

    source: Text
    stamp: Text
    shape: Shape
    ranges: NotRequired[list[FirstLast]]
    resize: NotRequired[Literal["crop"]]


@with_config(_STRICT)
class Clip(Origin):
    """A decoded clip: its number of frames, the SHA-256 of video and stored file, and the size of the stored file."""

    frames: Count
    source_sha256: Sha256
    sha256: Sha256
    bytes: Count


@with_config(_STRICT)
class Skipped(Origin):
    """A video that cannot be used: the reason, and the state of its file at that time."""

    skipped: Text
    state: int


@with_config(_STRICT)
class Manifest(TypedDict):
    """A finished store: its clips, and the reasons why other videos could not be used."""

    shape: Shape
    clips: dict[Text, Clip]
    skipped: dict[Text, Text]


@with_config(_STRICT)
class Checked(TypedDict):
    """The state of each clip's file when its bytes were last compared with their checksum."""

    stamps: dict[Text, str]
