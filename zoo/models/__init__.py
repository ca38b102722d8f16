"""The models, one file for each family. Importing this package registers them, without importing torch."""

from zoo.models.forecasters import make_conv_gru, make_conv_lstm_2015, make_fc_lstm, make_mcnet, make_traj_gru
from zoo.models.per_step import make_cdna, make_dfn, make_e3d_lstm, make_vpn_baseline
from zoo.models.series import make_lstm, make_tensor_train
from zoo.models.stack import make_stack
from zoo.models.zigzag import make_zigzag

__all__ = [
    "make_cdna",
    "make_conv_gru",
    "make_conv_lstm_2015",
    "make_dfn",
    "make_e3d_lstm",
    "make_fc_lstm",
    "make_lstm",
    "make_mcnet",
    "make_stack",
    "make_tensor_train",
    "make_traj_gru",
    "make_vpn_baseline",
    "make_zigzag",
]
