"""Wang et al., "PredRNN" and "PredRNN++"."""

from dataclasses import replace

from zoo.papers.paper import KTH_20, MNIST_3, MNIST_10, MNIST_30, Paper, PublishedSettings, System, results_table
from zoo.settings import ConstantRate, KTHData, LinearSampling, MovingMNISTData, Training

# Section 5.1: Adam at 1e-3, batches of 8, L1 + L2, 80,000 iterations; the sampling ratio falls to 0 over 50,000 of them
_PREDRNN_PP_MNIST = PublishedSettings(
    data=MovingMNISTData(),
    sampling=LinearSampling(start=0, stop=50_000),
    learning_rate=ConstantRate(base=1e-3),
    training=Training(steps=80_000, batch_size=8, clip_norm=0.0),
)
# Section 5.2: 128×128 pixels, 200,000 iterations, and the test windows of the set-up that it adopts. The paper does not
# say how long an epoch is; we use the 10,000 clips of the Conv-TT-LSTM paper. It trains on all persons 1–16 without
# validation; here the `validation_persons` are held out.
_PREDRNN_PP_KTH = replace(
    _PREDRNN_PP_MNIST,
    data=KTHData(size=128, windows="mcnet", endless=True),
    training=replace(_PREDRNN_PP_MNIST.training, steps=200_000),
)

# The authors' code: squared error only. It also plays every batch backwards, as a second update, so its 80,000 (KTH
# 200,000) iterations are twice as many steps. The sampling ratio falls by 2e-5 in each iteration.
_RELEASED_MNIST = replace(
    _PREDRNN_PP_MNIST,
    sampling=LinearSampling(start=0, stop=100_000),
    training=replace(_PREDRNN_PP_MNIST.training, steps=160_000, l1=0.0, backwards=True),
)
_RELEASED_KTH = replace(
    _RELEASED_MNIST, data=_PREDRNN_PP_KTH.data, training=replace(_RELEASED_MNIST.training, steps=400_000)
)

# the layer below the highway may also be given by its number
_PREDRNN_PP = System("predrnn-pp", {"highway": ("bottom", 1)})

PREDRNN = Paper(
    key="predrnn",
    name="PredRNN",
    title="PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal LSTMs",
    authors="Wang et al.",
    year=2017,
    url="https://github.com/thuml/predrnn-pytorch",
)
PREDRNN_PP = Paper(
    key="predrnn-pp",
    name="PredRNN++",
    title="PredRNN++: Towards A Resolution of the Deep-in-Time Dilemma in Spatiotemporal Predictive Learning",
    authors="Wang et al.",
    year=2018,
    url="https://arxiv.org/abs/1804.06300",
    settings={"moving-mnist": _PREDRNN_PP_MNIST, "kth": _PREDRNN_PP_KTH},
    tables=(
        results_table(
            "PredRNN++, Table 1",
            "predrnn-pp",
            {MNIST_10: ("ssim", "mse"), MNIST_30: ("ssim", "mse"), MNIST_3: ("ssim", "mse")},
            ("FC-LSTM", 0, (0.690, 118.3, 0.583, 180.1, 0.651, 162.4), System("fc-lstm")),
            ("ConvLSTM", 0, (0.707, 103.3, 0.597, 156.2, 0.673, 142.1), System("conv-lstm-2015")),
            ("TrajGRU", 0, (0.713, 106.9, 0.588, 163.0, 0.682, 134.0), System("traj-gru")),
            ("CDNA", 0, (0.721, 97.4, 0.609, 142.3, 0.669, 138.2), System("cdna")),
            ("DFN", 0, (0.726, 89.0, 0.601, 149.5, 0.679, 140.5), System("dfn")),
            ("VPN", 0, (0.870, 64.1, 0.620, 129.6, 0.734, 112.3), System("vpn-baseline")),
            ("PredRNN", 0, (0.867, 56.8, 0.645, 112.2, 0.782, 93.4), System("predrnn")),
            ("Causal LSTM", 0, (0.882, 52.5, 0.685, 100.7, 0.795, 89.2), System("causal-lstm")),
            (
                "Causal LSTM, spatial-to-temporal",
                0,
                (0.875, 54.0, 0.672, 103.6, 0.784, 91.8),
                System("causal-lstm-s2t"),
            ),
            (
                "PredRNN + GHU",
                0,
                (0.886, 50.7, 0.713, 98.4, 0.790, 88.9),
                System("predrnn-ghu", {"highway": ("bottom", 1)}),
            ),
            ("PredRNN++ (causal LSTM + GHU)", 15.05, (0.898, 46.5, 0.733, 91.1, 0.814, 81.7), _PREDRNN_PP),
        ),
        results_table(
            "PredRNN++, Table 2",
            "predrnn-pp",
            {MNIST_10: ("ssim", "mse")},
            ("PredRNN++, highway at the bottom (1, 2)", 0, (0.898, 46.5), _PREDRNN_PP),
            (
                "PredRNN++, highway in the middle (2, 3)",
                0,
                (0.894, 48.1),
                System("predrnn-pp", {"highway": ("middle", 2)}),
            ),
            ("PredRNN++, highway at the top (3, 4)", 0, (0.885, 52.0), System("predrnn-pp", {"highway": ("top", 3)})),
        ),
        results_table(
            "PredRNN++, Table 3",
            "predrnn-pp",
            {KTH_20: ("psnr", "ssim")},
            ("ConvLSTM", 0, (23.58, 0.712), System("conv-lstm-2015")),
            ("TrajGRU", 0, (26.97, 0.790), System("traj-gru")),
            ("DFN", 0, (27.26, 0.794), System("dfn")),
            ("MCNet", 0, (25.95, 0.804), System("mcnet")),
            ("PredRNN", 0, (27.55, 0.839), System("predrnn")),
            ("PredRNN++", 0, (28.47, 0.865), _PREDRNN_PP),
        ),
    ),
)
PREDRNN_PP_RELEASED = Paper(
    key="predrnn-pp-released",
    name="PredRNN++, released code",
    title="Code of PredRNN++",
    authors="Wang et al.",
    year=2018,
    url="https://github.com/Yunbo426/predrnn-pp",
    settings={"moving-mnist": _RELEASED_MNIST, "kth": _RELEASED_KTH},
)
