"""The one exception type of the library."""


class TensorTrainError(ValueError):
    """Raised for every invalid argument, file or shape.

    The message names the argument and its value, says which values are legal, and, where possible, how to fix the call.
    """
