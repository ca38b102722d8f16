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
    """Recurrent layers whose gates are a polynomial of the last hidden states, with a tensor train for coefficients.

    An encoder of such layers reads the observed values; a decoder takes over all of their past states and reads its own
    predictions. The train is evaluated core by core. The authors' code forms the outer product of the states, and two
    more things differ there: encoder and decoder in effect share their weights, and the decoder begins with zeros
    (`shared=True, first="zero"`). With its defaults a layer of the LSTM that reads three columns has 4,546 parameters,
    and a clip of 10 observed and 30 predicted steps takes 0.39 million multiplications; 0.10 million for the RNN.

    Args:
        lstm: gates and a memory, instead of a plain RNN.
        hidden: H, hidden units of each layer.
        lags: L, past hidden states that a layer sees.
        ranks: ranks inside each layer's train; its order P, the degree of the polynomial, is one more than there
            are.
        layers: number of layers of the encoder, and as many of the decoder.
        first: what the decoder reads before its first prediction: the last observed values, or zeros.
        shared: one set of layers reads and continues the series.
        columns: d, the values of a step.
    """
    from zoo.cells.tt_recurrent import TTRecurrentCell
    from zoo.networks.sequence import SequenceToSequence

    return SequenceToSequence(
        lambda inputs: TTRecurrentCell(inputs, hidden, lags, ranks, lstm), layers, columns, first, shared
    )


for _name, _lstm, _parameters, _summary in (
    ("tt-rnn", False, 5_211, "Tensor-train RNN: a transition of higher order in the last hidden states."),
    ("tt-lstm", True, 19_899, "Tensor-train LSTM: gates of higher order in the last hidden states."),
):
    register(_name, TT_RNN, reads="series", summary=_summary, parameters=_parameters, fixed={"lstm": _lstm})(
        make_tensor_train
    )


@register(
    "lstm",
    TT_RNN,
    reads="series",
    summary="LSTM from sequence to sequence: that paper's baseline, as large as `tt-lstm` in all.",
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

    A clip of 10 observed and 30 predicted steps takes 0.39 million multiplications, as with `tt-lstm`. The default of
    28 hidden units makes the whole model as large as `tt-lstm` with its defaults (20,023 parameters for 19,899); 14 of
    them make it as large as `tt-rnn` (5,309 for 5,211).

    Args:
        hidden: H, hidden units of each layer.
        layers: number of layers of the encoder, and as many of the decoder.
        first: what the decoder reads before its first prediction: the last observed values, or zeros.
        shared: one set of layers reads and continues the series.
        columns: d, the values of a step.
    """
    from zoo.cells.vector import LSTMCell
    from zoo.networks.sequence import SequenceToSequence

    return SequenceToSequence(lambda inputs: LSTMCell(inputs, hidden), layers, columns, first, shared)
