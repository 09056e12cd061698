"""The network with the early exits of `earlyon` (PyPI): the same weights as PyTorch's modules, in its wrapper."""

import numpy as np

from keras_inception.architectures import Conv, Inception, MaxPool


def earlyon_model(network, heads, thresholds, weights):
    """Returns earlyon's wrapper of a network.

    Args:
        network: What `serving_network` returned with these heads, of convolutions and pools alone; its architecture
            pads symmetrically.
        heads: The names of the auxiliary heads, the shallowest first.
        thresholds: The confidences from which an image leaves, by head.
        weights: What the logits of each head are multiplied by, by head, `"main"` among them.

    Raises:
        ImportError: earlyon is not installed.
    """
    from earlyon.core.types import EarlyExitConfig, ExitPoint
    from earlyon.core.wrappers import EarlyExitWrapper
    from torch import nn

    in_torch, records = InTorch(network), {head.name: head for head in network.architecture.auxiliary_heads}
    channels = {name: network.get_layer(f"{records[name].prefix}_conv").kernel.shape[2] for name in heads}
    config = EarlyExitConfig(
        backbone="custom",
        num_classes=network.get_layer("loss3_classifier").units,
        exit_points=[ExitPoint(name, records[name].tap, int(channels[name])) for name in heads],
        confidence_thresholds=[thresholds[name] for name in heads],
        temperatures={**{name: 1 / weights[name] for name in heads}, "final": 1 / weights["main"]},
    )
    _, height, width, depth = network.input_shape
    modules = {name: in_torch.head(records[name]) for name in heads}
    return EarlyExitWrapper(in_torch.trunk(), modules, nn.Identity(), config, (1, depth, height, width)).eval()


class InTorch:
    """The parts of a serving network as PyTorch's modules."""

    def __init__(self, network):
        self.network = network

    def trunk(self):
        from torch import nn

        trunk = nn.Sequential()
        for row in self.network.architecture.rows:
            trunk.add_module(row.name, self.row(row))
        trunk.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        trunk.add_module("linear", self.linear("loss3_classifier"))
        return trunk

    def row(self, row):
        from torch import nn

        match row:
            case Conv():
                return nn.Sequential(*([self.conv(f"{row.name}_reduce")] if row.reduce else []), self.conv(row.name))
            case MaxPool():
                return nn.MaxPool2d(row.pool_size, row.strides, ceil_mode=True)
            case Inception():
                return self.inception(row.name)
        raise ValueError(f"{row} is no row of convolutions and pools")

    def inception(self, name):
        import torch
        from torch import nn

        class Branches(nn.ModuleList):
            def forward(self, x):
                return torch.cat([branch(x) for branch in self], 1)

        conv = self.conv
        return Branches(
            [
                conv(f"{name}_1x1"),
                nn.Sequential(conv(f"{name}_3x3_reduce"), conv(f"{name}_3x3")),
                nn.Sequential(conv(f"{name}_5x5_reduce"), conv(f"{name}_5x5")),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(f"{name}_pool_proj")),
            ]
        )

    def head(self, head):
        from torch import nn

        shape = self.network.get_layer(f"{head.prefix}_conv").output.shape[1:]
        first = [nn.AvgPool2d(5, 3), self.conv(f"{head.prefix}_conv"), nn.Flatten()]
        return nn.Sequential(
            *first, self.linear(f"{head.prefix}_fc", shape), nn.ReLU(), self.linear(f"{head.prefix}_classifier")
        )

    def conv(self, name):
        from torch import nn

        layer = self.network.get_layer(name)
        kernel, bias = layer.get_weights()
        size, _, channels, filters = kernel.shape
        module = nn.Conv2d(channels, filters, size, layer.strides, size // 2)
        module.weight, module.bias = parameter(kernel.transpose(3, 2, 0, 1)), parameter(bias)
        return nn.Sequential(module, nn.ReLU())

    def linear(self, name, map_shape=None):
        from torch import nn

        kernel, bias = self.network.get_layer(name).get_weights()
        if map_shape:  # Keras flattens channels last
            kernel = kernel.reshape(*map_shape, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        module = nn.Linear(*kernel.shape)
        module.weight, module.bias = parameter(kernel.T), parameter(bias)
        return module


def parameter(array):
    import torch

    return torch.nn.Parameter(torch.from_numpy(np.ascontiguousarray(array, "float32")), requires_grad=False)
