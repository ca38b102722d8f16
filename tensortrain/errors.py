"""The one exception type of the library."""


class TensorTrainError(ValueError):
    """Raised for every invalid argument, file or shape.

    The message names the argument, the value it had, what is legal, and where
    it helps how to mend it.
    """
