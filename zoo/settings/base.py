"""The base class of all settings."""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ConfigDict


class Settings:
    """The base class of all settings. Values must have exactly the declared types, and unknown names are refused."""

    __pydantic_config__: ClassVar["ConfigDict"] = {"strict": True, "extra": "forbid"}
