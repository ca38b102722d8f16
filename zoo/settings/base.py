"""What all settings classes have in common."""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ConfigDict


class Settings:
    """The base of all settings classes: values must have exactly the declared types, and unknown names are refused."""

    __pydantic_config__: ClassVar["ConfigDict"] = {"strict": True, "extra": "forbid"}
