"""How fast an engine is, learned from its batches."""

from dataclasses import dataclass

# Of the newest batch in the averages, as for round trips in RFC 6298.
_MEAN_WEIGHT = 0.125
_DEVIATION_WEIGHT = 0.25
# Mean deviations above the mean that a forecast allows for, as there.
_CAUTION = 4.0
# From here on a batch counts in full.
_FULL_TOKENS = 256
# Smaller batches tell little of the pace.
_TELLING_TOKENS = 64


@dataclass(slots=True)
class Pace:
    """Seconds that an engine takes for a token: mean and mean deviation over its latest batches. Source: RFC 6298.

    A few tokens take as long as many, so a small batch counts for the share of a full one that it is, and a lone
    sentence only until larger ones are known. The first full batch begins anew: what small ones take says little of it.

    measured: batches so far, in such shares
    knows_full_batches: one of them was full
    """

    s_per_token: float = 0.0  # 0 until a batch was measured
    deviation: float = 0.0
    measured: float = 0.0
    knows_full_batches: bool = False

    @property
    def tokens_per_s(self) -> float | None:
        """The mean rate; None before the first batch."""
        return 1 / self.s_per_token if self.s_per_token else None

    @property
    def cautious_s_per_token(self) -> float:
        """What a token takes, seldom more; 0 before the first batch."""
        return self.s_per_token + _CAUTION * self.deviation

    def can_tell(self, tokens: int) -> bool:
        """Tell whether the pace says something of so many tokens."""
        return self.knows_full_batches or tokens < _FULL_TOKENS

    def note(self, tokens: int, elapsed_s: float) -> bool:
        """Learn from a batch. False when it tells nothing."""
        if tokens < _TELLING_TOKENS and self.measured >= 1:
            return False
        newest = max(elapsed_s, 1e-6) / tokens
        share = min(1.0, tokens / _FULL_TOKENS)
        if share == 1.0 and not self.knows_full_batches:
            self.s_per_token = self.deviation = self.measured = 0.0
            self.knows_full_batches = True
        if self.measured >= 1:
            self.deviation += _DEVIATION_WEIGHT * share * (abs(newest - self.s_per_token) - self.deviation)
        self.measured += share
        self.s_per_token += max(_MEAN_WEIGHT * share, share / self.measured) * (newest - self.s_per_token)
        return True
