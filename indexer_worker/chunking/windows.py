"""Stretches of a text as the model reads them, tokenised once, with the way back to places in the text."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

# White space that the model reads as one space, the marks of a heading with it.
_GAP = re.compile(r"(?<=\S)\s++(?<=\n)#{1,6}\s+|(?<=\S)\s{2,}")
_BEFORE_WORDS = set(" ▁Ġ")


@dataclass(frozen=True, slots=True)
class Window:
    """`text[begin:stop]` behind a prefix.

    flat: what the model reads: the prefix, then the text without marks of headings, white space made single spaces
    offsets: where each token begins and ends in `flat`
    """

    text: str
    begin: int
    stop: int
    prefix: str
    flat: str
    offsets: Sequence[tuple[int, int]]

    @property
    def is_rest(self) -> bool:
        """Say whether it reaches the end of the text."""
        return self.stop == len(self.text)

    def place_of(self, token: int) -> int:
        """Return where a token begins in the text."""
        place = self.offsets[token][0] - len(self.prefix) + self.begin
        for gap in _GAP.finditer(self.text, self.begin, self.stop):
            if gap.start() >= place:
                break
            place += gap.end() - gap.start() - 1
        return max(self.begin, place)

    def reading_until(self, end: int) -> str:
        """Return what the model reads when the text is cut at `end`."""
        return self.prefix + flat(self.text[self.begin : end])

    def tokens_of(self, read: str) -> int | None:
        """Return the tokens of a part of `flat` from its beginning that ends between words; None for anything else."""
        if self.flat.startswith(read) and self.flat[len(read) : len(read) + 1] in {"", " "}:
            return bisect_left(self.offsets, (len(read),))
        return None


class WindowTokenizer:
    """The model's own tokenizer, without special tokens.

    splits_at_spaces: whether a word has the same tokens wherever it stands, so that those of a part can be counted
    """

    def __init__(self, content: bytes) -> None:
        self._tokenizer = Tokenizer.from_buffer(content)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self.splits_at_spaces = _splits_at_spaces(self._tokenizer)

    def window(self, text: str, begin: int, stop: int, prefix: str) -> Window:
        """Tokenise a stretch of text behind a prefix."""
        stop = min(stop, len(text))
        read = prefix + flat(text[begin:stop])
        return Window(text, begin, stop, prefix, read, self._offsets(read))

    def count(self, read: str) -> int:
        """Return the number of tokens; a third less work than with their places."""
        return len(self._tokenizer.encode_batch_fast([read], add_special_tokens=False)[0])

    def shortened(self, read: str, tokens: int) -> str:
        """Return as much of a text from its beginning as makes at most so many tokens."""
        if len(read.encode()) < tokens:  # no tokenizer makes more of it than bytes and a word's boundary
            return read
        offsets = self._offsets(read)
        return read if len(offsets) <= tokens else read[: offsets[tokens][0]].rstrip()

    def _offsets(self, read: str) -> list[tuple[int, int]]:
        return self._tokenizer.encode(read, add_special_tokens=False).offsets


def flat(text: str) -> str:
    """Return a stretch of cleaned text, which begins with a word, as the model reads it."""
    return " ".join((_GAP.sub(" ", text) if "\n#" in text else text).split())


def _splits_at_spaces(tokenizer: Tokenizer) -> bool:
    sample = "가 나다 a b. 1 2"
    if tokenizer.normalizer is not None:
        sample = tokenizer.normalizer.normalize_str(sample)
    if tokenizer.pre_tokenizer is None:
        return False
    words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(sample)]
    return not any(_BEFORE_WORDS & set(word[1:]) for word in words)
