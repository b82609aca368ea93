"""What a request for embeddings may be."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from encoder_service.batcher import Batcher
from encoder_service.encoder import Encoder
from encoder_service.engines.engine import Embeddings, TokenIds
from encoder_service.tokeniser import Tokeniser
from kosearch.errors import InvalidRequestError

MAX_TOKENS = 6


class CountingEngine:
    """Embeds a text as its number of tokens."""

    dim = 1

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        return np.array([[len(ids)] for ids in token_ids], np.float32)


def tokeniser(max_text_bytes: int = 1024, *, special_tokens: bool = True) -> Tokeniser:
    """A tokeniser of words."""
    made = Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "치타": 3}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if special_tokens:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
        )
    return Tokeniser(made, MAX_TOKENS, max_text_bytes)


async def encode(texts: Sequence[str], max_text_bytes: int = 1024) -> tuple[list[float], list[int], list[bool]]:
    """Encode with at most 3 texts a request. Returns embeddings, token counts, truncated."""
    with ThreadPoolExecutor(1) as thread:
        batcher = Batcher(CountingEngine(), thread, 100, 1000)
        batcher.start()
        encoder = Encoder(tokeniser(max_text_bytes), thread, batcher, max_texts=3)
        try:
            encoded = await encoder.encode(texts)
        finally:
            await batcher.stop()
    return encoded.embeddings[:, 0].tolist(), encoded.token_counts, encoded.truncated


async def test_special_tokens_count() -> None:
    assert await encode(["치타 치타", "치타"]) == ([4, 3], [4, 3], [False, False])


async def test_a_long_text_is_cut_and_says_so() -> None:
    assert await encode(["치타 " * 4, "치타 " * 5]) == ([6, 6], [6, 6], [False, True])


async def test_no_text_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no text"):
        await encode([])


@pytest.mark.parametrize("empty", ["", "  \n", "\u200b\ufeff", "\x00\x07"])
async def test_an_empty_text_is_refused_by_its_place(empty: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"texts\[1\] is empty"):
        await encode(["치타", empty])


async def test_too_many_texts_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="4 texts, 3 are accepted"):
        await encode(["치타"] * 4)


async def test_a_text_of_too_many_bytes_is_refused_by_its_place() -> None:
    assert (await encode(["가" * 33], max_text_bytes=99))[1] == [3]
    with pytest.raises(InvalidRequestError, match=r"texts\[0\] has 102 bytes, 99"):
        await encode(["가" * 34], max_text_bytes=99)


async def test_white_space_does_not_count_as_bytes() -> None:
    assert (await encode(["치타" + " " * 500 + "치타"], max_text_bytes=20))[1] == [4]


async def test_decomposed_hangul_is_the_same_text() -> None:
    assert tokeniser().tokenise(["\u110e\u1175\u1110\u1161"]).token_ids[0].tolist() == [0, 3, 1]


def test_a_text_without_any_token_is_refused() -> None:
    made = Tokenizer(models.WordLevel({}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.CharDelimiterSplit("a")
    with pytest.raises(InvalidRequestError, match=r"texts\[0\] holds nothing"):
        Tokeniser(made, MAX_TOKENS, 1024).tokenise(["a"])
