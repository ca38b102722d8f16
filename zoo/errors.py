"""The one exception of the package."""


class ZooError(ValueError):
    """Bad input. The message says what, which value, what is legal and how to mend it."""
