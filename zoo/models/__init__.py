"""The models, one file for each family; importing this package registers them, without importing torch."""

from zoo.models.stack import make_stack
from zoo.models.zigzag import make_zigzag

__all__ = ["make_stack", "make_zigzag"]
