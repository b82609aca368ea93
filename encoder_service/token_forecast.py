"""How many tokens texts will have, told from their characters: who cannot be served is refused before the tokeniser."""

from collections.abc import Sequence

# Of what was learned before, at each call.
_KEPT_SHARE = 0.9
# A forecast below most of what comes, since nobody may be refused whom the exact count would let in.
_CAUTION = 0.8


class TokenForecast:
    """Tokens per character of the texts so far; the latest count most, and each by its length."""

    def __init__(self, max_tokens: int) -> None:
        """`max_tokens`: no text has more."""
        self._max_tokens = max_tokens
        self._tokens = self._characters = 0.0

    def tokens(self, characters: Sequence[int]) -> int:
        """Tokens that texts of so many characters have at least, most likely; one each before anything was learned."""
        per_character = _CAUTION * self._tokens / max(self._characters, 1.0)
        if max(characters) * per_character <= self._max_tokens:  # mostly so, and a call may have thousands of texts
            return max(len(characters), int(per_character * sum(characters)))
        return sum(min(self._max_tokens, max(1, int(per_character * count))) for count in characters)

    def learn(self, characters: int, tokens: int) -> None:
        """Take the true count of some texts into account."""
        self._tokens = _KEPT_SHARE * self._tokens + tokens
        self._characters = _KEPT_SHARE * self._characters + characters
