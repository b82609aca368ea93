"""Text to token ids: normalised, checked, cut to what the model reads. Blocking; meant for a thread of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from tokenizers import Tokenizer

from encoder_service.engines.engine import TokenIds
from kosearch.errors import InvalidRequestError, ModelError
from kosearch.model_directory import ModelDirectory
from kosearch.text import normalise


class LongText(Enum):
    """What becomes of a text that is longer than the model reads."""

    TRUNCATE = "truncate"
    ERROR = "error"
    MEAN_OF_CHUNKS = "mean of chunks"


@dataclass(frozen=True, slots=True)
class TokenisedTexts:
    """Token ids, one chunk after the other, and what they are of.

    chunk_counts: chunks of each text; more than 1 only for the mean of chunks
    truncated: of each text, whether its tail was left out
    """

    token_ids: list[TokenIds]
    chunk_counts: list[int]
    truncated: list[bool]

    @property
    def token_counts(self) -> list[int]:
        """Tokens of each text that go into its embedding."""
        if len(self.token_ids) == len(self.chunk_counts):
            return [len(ids) for ids in self.token_ids]
        chunks = iter(self.token_ids)
        return [sum(len(next(chunks)) for _ in range(count)) for count in self.chunk_counts]


class Tokeniser:
    """The model's tokenizer.json. Safe for several threads: nothing changes after it is made."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, max_text_bytes: int) -> None:
        """Take over the tokenizer: `max_tokens` are read, special tokens included."""
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._max_text_bytes = max_text_bytes

    @property
    def max_tokens(self) -> int:
        """Tokens that are read of a text, special ones included."""
        return self._max_tokens

    @classmethod
    def load(cls, model: ModelDirectory, max_text_bytes: int) -> "Tokeniser":
        """Read tokenizer.json. Raises ModelError when it cannot be used."""
        path = model.path / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust library raises bare Exception and nothing narrower
            raise ModelError(f"{path} cannot be read ({error}); export the model again") from error
        return cls(tokenizer, model.max_tokens, max_text_bytes)

    def tokenise(
        self, texts: Sequence[str], prompt: str = "", long_text: LongText = LongText.TRUNCATE
    ) -> TokenisedTexts:
        """Tokenise in the order given, `prompt` before each text.

        Raises InvalidRequestError naming the text that is empty, has too many bytes, or is longer than the model reads
        and must not be.
        """
        readable = [prompt + self._readable(text, place) for place, text in enumerate(texts)]
        encodings = self._tokenizer.encode_batch_fast(readable)
        token_ids: list[TokenIds] = []
        chunk_counts: list[int] = []
        for place, encoding in enumerate(encodings):
            if not encoding.ids:
                raise InvalidRequestError(f"texts[{place}] holds nothing that the model knows; leave it out")
            chunks = [encoding]
            if long_text is LongText.MEAN_OF_CHUNKS:
                chunks += encoding.overflowing
            elif long_text is LongText.ERROR and encoding.overflowing:
                raise InvalidRequestError(
                    f"texts[{place}] is longer than the {self._max_tokens} tokens that the model reads; cut it into "
                    "chunks, or ask for another long_text"
                )
            token_ids += [np.array(chunk.ids, np.int32) for chunk in chunks]
            chunk_counts.append(len(chunks))
        is_whole = long_text is LongText.MEAN_OF_CHUNKS
        return TokenisedTexts(
            token_ids, chunk_counts, [not is_whole and bool(encoding.overflowing) for encoding in encodings]
        )

    def _readable(self, text: str, place: int) -> str:
        readable = normalise(text)
        if not readable:
            raise InvalidRequestError(f"texts[{place}] is empty; leave it out or send a text with visible characters")
        # A character has at most 4 bytes: the exact count, which copies the text, is needed near the limit only.
        if len(readable) * 4 > self._max_text_bytes and len(readable.encode()) > self._max_text_bytes:
            raise InvalidRequestError(
                f"texts[{place}] has {len(readable.encode()):,} bytes, {self._max_text_bytes:,} are accepted; "
                "cut it into chunks"
            )
        return readable
