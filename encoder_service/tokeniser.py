"""Text to token ids: normalised, checked, cut to what the model reads. Blocking; meant for a thread of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from encoder_service.engines.engine import TokenIds
from kosearch.errors import InvalidRequestError, ModelError
from kosearch.model_directory import ModelDirectory
from kosearch.text import normalise


@dataclass(frozen=True, slots=True)
class TokenisedTexts:
    """For each text its token ids, and whether its tail was left out."""

    token_ids: list[TokenIds]
    truncated: list[bool]


class Tokeniser:
    """The model's tokenizer.json. Safe for several threads: nothing changes after it is made."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, max_text_bytes: int) -> None:
        """Take over the tokenizer: `max_tokens` are read, special tokens included."""
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self._tokenizer = tokenizer
        self._max_text_bytes = max_text_bytes

    @classmethod
    def load(cls, model: ModelDirectory, max_text_bytes: int) -> "Tokeniser":
        """Read tokenizer.json. Raises ModelError when it cannot be used."""
        path = model.path / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust library raises bare Exception and nothing narrower
            raise ModelError(f"{path} cannot be read ({error}); export the model again") from error
        return cls(tokenizer, model.max_tokens, max_text_bytes)

    def tokenise(self, texts: Sequence[str]) -> TokenisedTexts:
        """Tokenise in the order given. Raises InvalidRequestError naming the text that is empty or too long."""
        normalised = [self._readable(text, place) for place, text in enumerate(texts)]
        encodings = self._tokenizer.encode_batch_fast(normalised)
        token_ids = [np.array(encoding.ids, np.int32) for encoding in encodings]
        for place, ids in enumerate(token_ids):
            if len(ids) == 0:
                raise InvalidRequestError(f"texts[{place}] holds nothing that the model knows; leave it out")
        return TokenisedTexts(token_ids, [bool(encoding.overflowing) for encoding in encodings])

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
