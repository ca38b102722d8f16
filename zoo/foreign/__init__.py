"""Convert weights that other programs have trained to weights of this package's models.

Each module knows the names and the order of gates of one code base: `torch_zigzag` and `torch_stack` those of OpenSTL,
predrnn-pytorch and the Conv-TT-LSTM paper's code, and `tensorflow` those of PredRNN++'s code. `ledger` keeps account of
every tensor, and `weights` makes the model.
"""
