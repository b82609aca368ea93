"""What a request for embeddings may be."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from encoder_service.batcher import Batcher
from encoder_service.encoder import Encoded, Encoder, Options
from encoder_service.engine_thread import EngineThread
from encoder_service.engines.engine import ByToken, Embeddings, TokenEmbeddings, TokenIds
from encoder_service.text_reader import Role, TextReader
from encoder_service.tokeniser import LongText, Tokeniser
from kosearch.errors import InvalidRequestError

MAX_TOKENS = 6


class CountingEngine:
    """Embeds a text in the direction (its tokens, 4)."""

    dim = 2

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        rows = np.array([[len(ids), 4] for ids in token_ids], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_tokens(self, token_ids: Sequence[TokenIds]) -> list[TokenEmbeddings]:
        """A token in its own direction."""
        return [np.stack([np.cos(ids), np.sin(ids)], axis=1).astype(np.float32) for ids in token_ids]


def tokeniser(max_text_bytes: int = 1024, *, special_tokens: bool = True) -> Tokeniser:
    """A tokeniser of words."""
    made = Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "치타": 3}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if special_tokens:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
        )
    return Tokeniser(made, MAX_TOKENS, max_text_bytes)


@asynccontextmanager
async def running_encoder(max_text_bytes: int = 1024) -> AsyncIterator[Encoder]:
    """An encoder of at most 3 texts a request."""
    work = threading.Condition()
    batcher, by_token = Batcher(2, 100, 1000, 0.01, work), Batcher(None, 100, 1000, 0.01, work)
    engine_thread = EngineThread(work, asyncio.get_running_loop())
    engine_thread.add(batcher, CountingEngine())
    engine_thread.add(by_token, ByToken(CountingEngine()))
    engine_thread.start()
    with ThreadPoolExecutor(1) as thread:
        reader = TextReader(tokeniser(max_text_bytes), thread, 3, {Role.QUERY: "질문 문장: "})
        try:
            yield Encoder(reader, batcher, by_token)
        finally:
            await asyncio.to_thread(engine_thread.stop)


async def encode_with(texts: Sequence[str], options: Options, max_text_bytes: int = 1024) -> Encoded:
    async with running_encoder(max_text_bytes) as encoder:
        return await encoder.encode(texts, options)


async def encode(texts: Sequence[str], max_text_bytes: int = 1024) -> tuple[list[int], list[bool]]:
    """Encode without options. Returns token counts, truncated."""
    encoded = await encode_with(texts, Options(), max_text_bytes)
    return encoded.token_counts, encoded.truncated


async def test_special_tokens_count() -> None:
    assert await encode(["치타 치타", "치타"]) == ([4, 3], [False, False])


async def test_a_long_text_is_cut_and_says_so() -> None:
    assert await encode(["치타 " * 4, "치타 " * 5]) == ([6, 6], [False, True])


async def test_each_token_may_have_an_embedding_of_its_own() -> None:
    """In the order of the texts, of equal length or not; of a long text those that the model reads."""
    async with running_encoder() as encoder:
        rows = await encoder.encode_tokens(["치타", "치타", "치타 " * 9])
    assert [each.shape for each in rows] == [(3, 2), (3, 2), (MAX_TOKENS, 2)]
    np.testing.assert_allclose(rows[1], np.stack([np.cos([0, 3, 1]), np.sin([0, 3, 1])], axis=1), rtol=1e-6)


async def test_no_tokens_are_embedded_of_no_text() -> None:
    async with running_encoder() as encoder:
        with pytest.raises(InvalidRequestError, match="no text"):
            await encoder.encode_tokens([])


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
    assert (await encode(["가" * 33], max_text_bytes=99))[0] == [3]
    with pytest.raises(InvalidRequestError, match=r"texts\[0\] has 102 bytes, 99"):
        await encode(["가" * 34], max_text_bytes=99)


async def test_white_space_does_not_count_as_bytes() -> None:
    assert (await encode(["치타" + " " * 500 + "치타"], max_text_bytes=20))[0] == [4]


async def test_decomposed_hangul_is_the_same_text() -> None:
    assert tokeniser().tokenise(["\u110e\u1175\u1110\u1161"]).token_ids[0].tolist() == [0, 3, 1]


def test_a_text_without_any_token_is_refused() -> None:
    made = Tokenizer(models.WordLevel({}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.CharDelimiterSplit("a")
    with pytest.raises(InvalidRequestError, match=r"texts\[0\] holds nothing"):
        Tokeniser(made, MAX_TOKENS, 1024).tokenise(["a"])


async def test_a_long_text_is_refused_when_the_caller_wants_it_whole() -> None:
    with pytest.raises(InvalidRequestError, match=r"texts\[1\] is longer than the 6 tokens"):
        await encode_with(["치타 " * 4, "치타 " * 5], Options(long_text=LongText.ERROR))


async def test_a_long_text_is_the_mean_of_its_chunks_by_tokens() -> None:
    encoded = await encode_with(["치타 " * 9, "치타"], Options(long_text=LongText.MEAN_OF_CHUNKS))
    assert encoded.token_counts == [6 + 6 + 3, 3]
    assert encoded.truncated == [False, False]
    chunks = np.array([[6, 4], [6, 4], [3, 4]]) / np.sqrt([[52], [52], [25]])  # unit rows
    mean = (chunks * [[6], [6], [3]]).sum(axis=0)
    np.testing.assert_allclose(encoded.embeddings, [mean / np.linalg.norm(mean), [0.6, 0.8]], rtol=1e-6)


async def test_a_role_brings_the_models_prompt_and_other_roles_bring_none() -> None:
    texts = ["치타"]
    counts = [(await encode_with(texts, Options(role=role))).token_counts for role in Role]
    assert counts == [[3], [6], [3]]  # 질문, 문장 and the colon


async def test_fewer_dimensions_are_the_leading_ones_of_length_one() -> None:
    assert (await encode_with(["치타"], Options(dimensions=1))).embeddings.tolist() == [[1.0]]


async def test_a_caller_learns_where_the_time_went() -> None:
    timing = (await encode_with(["치타"], Options())).timing
    assert timing.tokenise_s > 0
    assert timing.encode_s > 0
    assert timing.queue_s >= 0
