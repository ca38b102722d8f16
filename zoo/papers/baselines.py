"""The systems that both papers compare with, one after the other as they were published."""

from zoo.papers.paper import Paper

FC_LSTM = Paper(
    key="fc-lstm",
    name="FC-LSTM",
    title="Unsupervised Learning of Video Representations using LSTMs",
    authors="Srivastava et al.",
    year=2015,
    url="https://arxiv.org/abs/1502.04681",
)
CONV_LSTM_2015 = Paper(
    key="conv-lstm-2015",
    name="ConvLSTM",
    title="Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting",
    authors="Shi et al.",
    year=2015,
    url="https://arxiv.org/abs/1506.04214",
)
CDNA = Paper(
    key="cdna",
    name="CDNA",
    title="Unsupervised Learning for Physical Interaction through Video Prediction",
    authors="Finn et al.",
    year=2016,
    url="https://arxiv.org/abs/1605.07157",
)
DFN = Paper(
    key="dfn",
    name="DFN",
    title="Dynamic Filter Networks",
    authors="De Brabandere et al.",
    year=2016,
    url="https://arxiv.org/abs/1605.09673",
)
TRAJ_GRU = Paper(
    key="traj-gru",
    name="TrajGRU",
    title="Deep Learning for Precipitation Nowcasting: A Benchmark and A New Model",
    authors="Shi et al.",
    year=2017,
    url="https://arxiv.org/abs/1706.03458",
)
VPN = Paper(
    key="vpn",
    name="VPN",
    title="Video Pixel Networks",
    authors="Kalchbrenner et al.",
    year=2017,
    url="https://arxiv.org/abs/1610.00527",
)
MCNET = Paper(
    key="mcnet",
    name="MCnet",
    title="Decomposing Motion and Content for Natural Video Sequence Prediction",
    authors="Villegas et al.",
    year=2017,
    url="https://arxiv.org/abs/1706.08033",
)
TT_RNN = Paper(
    key="tt-rnn",
    name="TT-RNN",
    title="Long-term Forecasting using Tensor-Train RNNs",
    authors="Yu et al.",
    year=2017,
    url="https://arxiv.org/abs/1711.00073",
)
E3D_LSTM = Paper(
    key="e3d-lstm",
    name="E3D-LSTM",
    title="Eidetic 3D LSTM: A Model for Video Prediction and Beyond",
    authors="Wang et al.",
    year=2019,
    url="https://openreview.net/forum?id=B1lKS2AqtX",
)

BASELINES = (FC_LSTM, CONV_LSTM_2015, CDNA, DFN, TRAJ_GRU, VPN, MCNET, TT_RNN, E3D_LSTM)
