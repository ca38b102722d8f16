"""Su et al., "Convolutional Tensor-Train LSTM for Long-Term Video Prediction"."""

from dataclasses import replace

from zoo.papers.paper import KTH_20, KTH_40, MNIST_10, MNIST_30, Paper, PublishedSettings, System, results_table
from zoo.settings import KTHData, MovingMNISTData, PlateauRate, PlateauSampling, Training

# Section 5 and appendix: batches of 16, L1 + L2, at most 500 epochs; learning rate 1e-4 for 5×5 kernels, 1e-3 for 3×3
_CONV_TT_LSTM_MNIST = PublishedSettings(
    data=MovingMNISTData(),
    sampling=PlateauSampling(),
    learning_rate=PlateauRate(base=1e-4),
    training=Training(steps=500 * 625, batch_size=16),
    base_by_kernel={3: 1e-3},
)
# Section 5: 128×128 pixels, 10,000 clips in an epoch, the rest as for Moving-MNIST. The sampling ratio falls by 4e-3 in
# each epoch, the highest value in the authors' code; the paper prints 5e-4, which would take 2,000 epochs. The authors
# choose the best weights on the test persons. Here the `validation_persons`, some of persons 1–16, are not trained on;
# they decide when rates fall and which weights are best.
_CONV_TT_LSTM_KTH = replace(
    _CONV_TT_LSTM_MNIST,
    data=KTHData(size=128, windows="conv-tt-lstm", endless=True),
    sampling=PlateauSampling(decay=4e-3),
)

# In the authors' code the ring buffer of past states wraps at the order instead of at the number of steps. In the
# reported model with a fixed window (order 1, steps 3, rank 8) it never moves. So that model reads only the last state
# and two maps of zeros, and its numbers are those of a first-order cell of low rank. The sliding window (3, 3, 8) is
# not affected. The copy of the paper that was used lacks the tables. The numbers of the first two tables below are from
# the README of the authors' code. Of the other tables we know only which rows they have.
_CONV_LSTM, _SLIDING, _FIXED = (
    System(model, teacher_forcing=False, l1_alone=False)
    for model in ("conv-lstm", "conv-tt-lstm-sw", "conv-tt-lstm-fw")
)
_MNIST = {MNIST_10: ("mse", "ssim", "lpips"), MNIST_30: ("mse", "ssim", "lpips")}
_KTH = {KTH_20: ("psnr", "ssim", "lpips"), KTH_40: ("psnr", "ssim", "lpips")}
CONV_TT_LSTM = Paper(
    key="conv-tt-lstm",
    name="Conv-TT-LSTM",
    title="Convolutional Tensor-Train LSTM for Long-Term Video Prediction",
    authors="Su et al.",
    year=2020,
    url="https://arxiv.org/abs/2002.09131",
    settings={"moving-mnist": _CONV_TT_LSTM_MNIST, "kth": _CONV_TT_LSTM_KTH},
    tables=(
        results_table(
            "Conv-TT-LSTM, README",
            "conv-tt-lstm",
            _MNIST,
            ("ConvLSTM-12, original code", 3.97, (18.17, 0.882, 67.13, 33.08, 0.806, 140.1), _CONV_LSTM),
            ("ConvLSTM-12, optimised code", 3.97, (15.15, 0.902, 49.87, 27.21, 0.822, 117.3), _CONV_LSTM),
            ("Conv-TT-LSTM, original code", 2.69, (12.96, 0.915, 40.54, 25.81, 0.840, 90.38), _SLIDING),
            ("Conv-TT-LSTM, optimised code", 2.69, (14.09, 0.907, 46.03, 28.15, 0.834, 99.83), _SLIDING),
        ),
        results_table(
            "Conv-TT-LSTM, README",
            "conv-tt-lstm",
            _KTH,
            ("ConvLSTM-12, original code", 3.97, (28.21, 0.903, 137.1, 26.01, 0.876, 201.3), _CONV_LSTM),
            ("Conv-TT-LSTM, original code", 2.69, (28.36, 0.907, 133.4, 26.11, 0.882, 191.2), _SLIDING),
            ("Conv-TT-LSTM, optimised code", 2.69, (28.44, 0.907, 150.5, 26.49, 0.883, 211.8), _SLIDING),
        ),
        results_table("Conv-TT-LSTM, Table 2", "conv-tt-lstm", _MNIST, ("Conv-TT-LSTM-FW", 2.65, None, _FIXED)),
        results_table(
            "Conv-TT-LSTM, Table 3",
            "conv-tt-lstm",
            _MNIST,
            ("ConvLSTM, 4 layers", 0, None, replace(_CONV_LSTM, options={"layers": ([1, 1, 1, 1],)})),
            ("Conv-TT-LSTM, 4 layers", 0, None, replace(_SLIDING, options={"layers": ([1, 1, 1, 1],)})),
            ("ConvLSTM, L1 only", 0, None, replace(_CONV_LSTM, l1_alone=True)),
            ("Conv-TT-LSTM, L1 only", 0, None, replace(_SLIDING, l1_alone=True)),
            ("ConvLSTM, teacher forcing", 0, None, replace(_CONV_LSTM, teacher_forcing=True)),
            ("Conv-TT-LSTM, teacher forcing", 0, None, replace(_SLIDING, teacher_forcing=True)),
        ),
        results_table("Conv-TT-LSTM, Table 4", "conv-tt-lstm", _KTH, ("Conv-TT-LSTM-FW", 2.65, None, _FIXED)),
    ),
)
