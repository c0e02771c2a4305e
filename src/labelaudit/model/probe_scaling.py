"""The two scales of features between which a probe chooses: one factor for all, or one for each."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labelaudit.model.feature_rows import column_means

# float16 has 11 bits, so a deviation that is a smaller share of the mean is only rounding.
_SMALLEST_DEVIATION = 1e-4


@dataclass(frozen=True, eq=False)
class Scaling:
    """Features minus `mean` (d,), divided by `common`, have a mean variance of 1, without those that are constant.

    Attributes:
        deviations: (d,) float32, of the divided features; 0 for constant ones.
    """

    mean: torch.Tensor
    common: float
    deviations: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor) -> Scaling:
        """Return the scaling of features (n, d) float32."""
        mean = column_means(features)
        squares = torch.zeros_like(mean, dtype=torch.float64)
        for start in range(0, len(features), 2**12):
            block = features[start : start + 2**12]
            squares += (block - mean).square().sum(0, dtype=torch.float64)
        deviations = (squares / len(features)).sqrt()
        deviations *= deviations > _SMALLEST_DEVIATION * mean.abs()
        varying = deviations[deviations > 0]
        common = float(varying.square().mean().sqrt()) if len(varying) else 1.0
        return cls(mean, common, (deviations / common).float())

    def apply_(self, features: torch.Tensor) -> torch.Tensor:
        """Subtract the mean from features (n, d), and divide them by the common deviation, in place."""
        return features.sub_(self.mean).div_(self.common)

    def factors(self, is_standardised: bool) -> torch.Tensor:
        """Return by what features (n, d) are multiplied after `apply_`: (d,) float32, 0 for constant features."""
        varies = self.deviations > 0
        if not is_standardised:
            return varies.float()
        return torch.where(varies, 1 / self.deviations.clamp(min=torch.finfo(torch.float32).tiny), 0)
