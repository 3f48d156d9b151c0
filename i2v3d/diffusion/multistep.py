"""DPM-Solver++(2M): second order for as many network calls, since the call before says where predictions are going.

A step that holds the prediction D of the clean latents is DDIM's, and Euler's in the form of EDM. Let D be linear in
l = ln(alpha / sigma) instead, through the step's own prediction D_i and the one before, and the same step along

    D_i + (D_i - D_{i-1}) / (2 r),    r = (l_i - l_{i-1}) / (l_{i+1} - l_i)

is of second order, up in noise as well as down. It is linear in predictions, so guidance, windows and blends of two
passes may come before or after it. The step to clean latents, where l has no end, and the first one stay of first
order. Source: Lu et al., DPM-Solver++, 2022, algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from i2v3d.diffusion.denoiser import Predict
from i2v3d.diffusion.fusion import Pass, PredictPasses
from i2v3d.diffusion.guidance import Estimate


def extrapolation(sigma_before: float, sigma: float, sigma_next: float) -> float:
    """1 / (2 r) of the step from sigma to sigma_next behind that from sigma_before, 0 if sigma_next is 0.

    sigma: standard deviations of the noise where that of the signal is 1.
    """
    if sigma_next == 0:
        return 0.0
    return math.log(sigma / sigma_next) / (2 * math.log(sigma_before / sigma))


class Multistep:
    """Predictions of the clean latents, one a step, as DPM-Solver++(2M) steps along them.

    sigmas: S + 1 noise levels in the order of the steps. A prediction without one at the step before is left as it is.
    """

    def __init__(self, sigmas: Sequence[float]) -> None:
        self._sigmas = tuple(sigmas)
        self._before: tuple[int, Tensor] | None = None

    def __call__(self, clean: Tensor, step: int) -> Tensor:
        """clean: predicted at 0-based `step`."""
        before, self._before = self._before, (step, clean)
        if before is None or before[0] != step - 1:
            return clean
        return clean + extrapolation(*self._sigmas[step - 1 : step + 2]) * (clean - before[1])


def second_order(denoise: Predict, sigmas: Sequence[float]) -> Predict:
    """A denoiser along which Euler's steps through `sigmas` are of second order."""
    multistep = Multistep(sigmas)

    def extrapolated(x: Tensor, level: float, step: int) -> Tensor:
        return multistep(denoise(x, level, step), step)

    return extrapolated


class SecondOrderPasses:
    """The same of the passes of a segment, a `PredictPasses`: each goes on from its own prediction before.

    sigmas: as in `Multistep`. For rules that ask for a pass once a step, and that step along guided predictions.
    """

    def __init__(self, predict: PredictPasses, sigmas: Sequence[float]) -> None:
        self._predict, self._sigmas = predict, sigmas
        self._of: dict[Pass, tuple[Multistep, Multistep]] = {}

    def __call__(self, x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Estimate]:
        return [
            self._extrapolated(name, estimate, step)
            for name, estimate in zip(passes, self._predict(x, sigma, step, passes), strict=True)
        ]

    def _extrapolated(self, name: Pass, found: Estimate, step: int) -> Estimate:
        if name not in self._of:
            self._of[name] = Multistep(self._sigmas), Multistep(self._sigmas)
        unconditional, guided = self._of[name]
        return Estimate(unconditional(found.unconditional, step), guided(found.guided, step))
