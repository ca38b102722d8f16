"""Tan et al., "OpenSTL"."""

from zoo.papers.paper import MNIST_10, Paper, System, results_table

OPENSTL = Paper(
    key="openstl",
    name="OpenSTL",
    title="OpenSTL: A Comprehensive Benchmark of Spatio-Temporal Predictive Learning",
    authors="Tan et al.",
    year=2023,
    url="https://arxiv.org/abs/2306.11249",
    tables=(  # the models were trained for 200 epochs, and tested on clips of the benchmark's own
        results_table(
            "OpenSTL",
            "openstl",
            {MNIST_10: ("mse", "ssim")},
            ("ConvLSTM-S", 15.0, (29.80, 0.9288), System("conv-lstm")),
            ("PredRNN", 23.8, (23.97, 0.9462), System("predrnn")),
            ("PredRNN++", 38.6, (22.06, 0.9509), System("predrnn-pp")),
        ),
    ),
)
