"""Weights that other programs trained, turned into those of this package's models.

Each module knows the names and the order of gates of one code base: `torch_zigzag` and `openstl` those of OpenSTL and
predrnn-pytorch, `conv_tt_lstm` those of the Conv-TT-LSTM paper's code, `tensorflow` those of PredRNN++'s. `ledger`
keeps account of every tensor, and `weights` puts the model together.
"""
