"""Models of series: the tensor-train RNN and LSTM, and the plain LSTM that they are compared with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from zoo.papers import TT_RNN
from zoo.registry import register

if TYPE_CHECKING:
    from zoo.networks.sequence import SequenceToSequence


def make_tensor_train(
    lstm: bool,
    hidden: int = 16,
    lags: int = 2,
    ranks: Sequence[int] = (2,),
    layers: int = 2,
    first: Literal["last", "zero"] = "last",
    shared: bool = False,
    columns: int = 3,
) -> "SequenceToSequence":
    """A tensor-train RNN or LSTM: the gates are a polynomial of the last hidden states with tensor-train coefficients.

    An encoder of such layers reads the observed values. A decoder starts from all of its states and reads its own
    predictions. The train is evaluated core by core, whereas the authors' code forms the outer product of the states.
    That code differs in two more things: its encoder and decoder share their weights in effect, and its decoder first
    reads zeros (`shared=True, first="zero"`).

    With default options, an LSTM layer that reads three columns has 4,546 parameters. A clip of 10 observed and 30
    predicted steps takes 0.39 million multiplications with the LSTM, and 0.10 million with the RNN.

    Args:
        lstm: True for an LSTM with four gates and a memory, False for a plain RNN.
        hidden: H, the number of hidden units of each layer.
        lags: L, the number of past hidden states that a layer reads.
        ranks: the inner ranks of each layer's train. Its order P, the degree of the polynomial, is their number plus
            one.
        layers: number of layers of the encoder, and of the decoder.
        first: what the decoder reads before its first prediction: "last" for the last observed values, or "zero".
        shared: whether the encoder's layers are also the decoder's.
        columns: d, the number of values in a step.
    """
    from zoo.cells.tt_recurrent import TTRecurrentCell
    from zoo.networks.sequence import SequenceToSequence

    return SequenceToSequence(
        lambda inputs: TTRecurrentCell(inputs, hidden, lags, ranks, lstm), layers, columns, first, shared
    )


for _name, _lstm, _parameters, _summary in (
    ("tt-rnn", False, 5_211, "Tensor-train RNN: its step is a polynomial of the last hidden states."),
    ("tt-lstm", True, 19_899, "Tensor-train LSTM: its gates are a polynomial of the last hidden states."),
):
    register(_name, TT_RNN, reads="series", summary=_summary, parameters=_parameters, fixed={"lstm": _lstm})(
        make_tensor_train
    )


@register(
    "lstm",
    TT_RNN,
    reads="series",
    summary="LSTM encoder and decoder: the baseline of TT-RNN, as large as `tt-lstm`.",
    parameters=20_023,
)
def make_lstm(
    hidden: int = 28,
    layers: int = 2,
    first: Literal["last", "zero"] = "last",
    shared: bool = False,
    columns: int = 3,
) -> "SequenceToSequence":
    """The network of `tt-rnn` and `tt-lstm` with plain LSTM layers.

    A clip of 10 observed and 30 predicted steps takes 0.39 million multiplications, as with `tt-lstm`. With the default
    of 28 hidden units the whole model is as large as `tt-lstm` with its defaults (20,023 and 19,899 parameters). With
    14 hidden units it is as large as `tt-rnn` (5,309 and 5,211).

    Args:
        hidden: H, the number of hidden units of each layer.
        layers: number of layers of the encoder, and of the decoder.
        first: what the decoder reads before its first prediction: "last" for the last observed values, or "zero".
        shared: whether the encoder's layers are also the decoder's.
        columns: d, the number of values in a step.
    """
    from zoo.cells.vector import LSTMCell
    from zoo.networks.sequence import SequenceToSequence

    return SequenceToSequence(lambda inputs: LSTMCell(inputs, hidden), layers, columns, first, shared)
