"""Cuts a document into chunks that the model reads whole, at line ends and sentence ends where it can."""

import re
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from kosearch.documents import Chunk, Document
from kosearch.text import normalise

# The best place to cut is the last of the first kind found in the second half of what fits.
_JOINTS = (
    re.compile(r"\n+"),
    # After the end of a sentence: 다. 요. 까? 。 and closing quotes or brackets behind it.
    re.compile(r"[.!?。…][\"'”’」』)\]]*\s+"),
    re.compile(r"\s+"),
)
# A title longer than this share of the model's reach would crowd out the text.
_TITLE_SHARE = 0.25
# Characters given to the tokenizer at once: enough for any model's reach, and a 10 MB document stays linear.
_CHARACTERS_PER_TOKEN = 8
_WHITE_SPACE = re.compile(r"\s")


class Chunker:
    """Chunks by the model's own tokenizer, so that no part of a document is silently not embedded."""

    def __init__(self, model: Path, max_tokens: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._budget = max_tokens - self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def chunks(self, document: Document) -> Iterator[Chunk]:
        """Yield the chunks of a document in order; together they hold its whole text."""
        title = normalise(document.title)
        # The whole title is stored all the same.
        prefix = title[: self._fitting("", title, int(self._budget * _TITLE_SHARE))] + " " if title else ""
        for index, text in enumerate(self._pieces(prefix, document.text)):
            yield Chunk(document, index, text, normalise(prefix + text))

    def _pieces(self, prefix: str, text: str) -> Iterator[str]:
        begin = 0
        while begin < len(text):
            window = text[begin : begin + self._budget * _CHARACTERS_PER_TOKEN]
            fits = self._fitting(prefix, window, self._budget)
            is_rest = fits == len(window) and begin + fits == len(text)
            end = fits if is_rest else _joint(window, fits)
            piece = window[:end].strip()
            if piece:
                yield piece
            begin += end

    def _fitting(self, prefix: str, window: str, budget: int) -> int:
        """Return how many characters of the window, behind the prefix, make at most `budget` tokens; at least 1."""
        # White space becomes spaces one for one: the model reads spaces there, and places stay the same.
        readable = _WHITE_SPACE.sub(" ", prefix + window)
        offsets = self._tokenizer.encode(readable, add_special_tokens=False).offsets
        if len(offsets) <= budget:
            return len(window)
        return max(1, offsets[budget][0] - len(prefix))


def _joint(window: str, fits: int) -> int:
    """Return where to cut a window of which `fits` characters fit: behind the last joint in their second half."""
    for joint in _JOINTS:
        ends = [match.end() for match in joint.finditer(window, fits // 2, fits)]
        if ends:
            return ends[-1]
    return fits
