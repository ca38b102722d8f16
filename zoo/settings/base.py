"""What all settings classes have in common."""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ConfigDict


class Settings:
    """What settings classes have in common: a file must give their values the very types, and no other names."""

    __pydantic_config__: ClassVar["ConfigDict"] = {"strict": True, "extra": "forbid"}
