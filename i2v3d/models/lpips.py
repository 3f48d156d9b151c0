"""LPIPS, the learnt perceptual distance, with AlexNet's features; weights from a local safetensors file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from i2v3d.errors import WeightsError
from i2v3d.geometry.checks import check_pictures

FILE = "lpips_alex.safetensors"
# Channels in and out, kernel, stride, padding of AlexNet's convolutions, by torchvision's number of the layer.
CONVOLUTIONS = {
    0: (3, 64, 11, 4, 2),
    3: (64, 192, 5, 1, 2),
    6: (192, 384, 3, 1, 1),
    8: (384, 256, 3, 1, 1),
    10: (256, 256, 3, 1, 1),
}
POOLED_BEFORE = (3, 6)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """The distance network. Source: Zhang et al. 2018, the linear variant 'alex', version 0.1."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = {str(n): nn.Conv2d(*sizes) for n, sizes in CONVOLUTIONS.items()}
        self.features = nn.ModuleDict(convolutions)
        self.linear = nn.ModuleList(nn.Conv2d(sizes[1], 1, 1, bias=False) for sizes in CONVOLUTIONS.values())

    @classmethod
    def load(cls, folder: Path) -> Lpips:
        """Reads FILE: AlexNet's 'features.N.weight' and '.bias' of torchvision, and 'linK.model.1.weight' of LPIPS.

        Raises WeightsError if it is missing, corrupt or of another architecture.
        """
        path = folder / FILE
        try:
            tensors = load_file(path)
            network = cls()
            names = {f"lin{k}.model.1.weight": f"linear.{k}.weight" for k in range(len(CONVOLUTIONS))}
            wanted = network.state_dict()
            renamed = {names.get(name, name): value.float() for name, value in tensors.items()}
            network.load_state_dict({name: renamed[name] for name in wanted})
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(f"{path} holds no LPIPS weights ({reason}); restore it") from error
        return network.eval().requires_grad_(False)

    @torch.no_grad()
    def distance(self, pictures: Tensor, truth: Tensor) -> Tensor:
        """(T,) distances of pictures (T, 3, H, W) in [0, 1]; 0 for equal ones. Raises ShapeError."""
        check_pictures(pictures=pictures, truth=truth)
        total = torch.zeros(len(pictures))
        for one, two, linear in zip(self._layers(pictures), self._layers(truth), self.linear, strict=True):
            difference = (functional.normalize(one, dim=1) - functional.normalize(two, dim=1)) ** 2
            total = total + linear(difference).mean((1, 2, 3)).cpu()
        return total

    def _layers(self, pictures: Tensor) -> list[Tensor]:
        shift, scale = (torch.tensor(value).view(1, 3, 1, 1) for value in (SHIFT, SCALE))
        state = (pictures * 2 - 1 - shift) / scale
        kept = []
        for number, convolution in self.features.items():
            if int(number) in POOLED_BEFORE:
                state = functional.max_pool2d(state, 3, 2)
            state = convolution(state).relu()
            kept.append(state)
        return kept
