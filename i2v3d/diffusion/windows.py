"""Long sequences of keyframes in overlapping windows whose results are averaged."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from i2v3d.errors import ConfigError


@dataclass(frozen=True)
class Windows:
    """Windows of consecutive frames. spans: (start, stop) of each; together they cover all frames."""

    spans: tuple[tuple[int, int], ...]

    @staticmethod
    def over(frames: int, window: int, overlap: int) -> Windows:
        """Windows of `window` frames that share `overlap`; the last one is shorter if the frames end.

        Raises ConfigError unless 0 <= overlap < window.
        """
        if not 0 <= overlap < window:
            raise ConfigError(
                f"keyframes.overlap is {overlap} in windows of {window}; expected 0 to {window - 1}"
            )
        spans, start = [(0, min(window, frames))], 0
        while spans[-1][1] < frames:
            start += window - overlap
            spans.append((start, min(start + window, frames)))
        return Windows(tuple(spans))

    @property
    def rows(self) -> tuple[int, ...]:
        """The frame of every row, window after window: frames in two windows come twice."""
        return tuple(frame for start, stop in self.spans for frame in range(start, stop))

    def mean_weights(self) -> torch.Tensor:
        """(frames, rows): a frame's value is the mean over the rows that hold it."""
        rows = torch.tensor(self.rows)
        holds = (rows[None] == torch.arange(self.spans[-1][1])[:, None]).float()
        return holds / holds.sum(1, keepdim=True)
