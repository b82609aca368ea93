"""Chunks: nothing of a document is lost, and nothing is longer than the model reads."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from indexer_worker.chunking import Chunker
from kosearch.documents import Chunk, Document
from kosearch.text import clean, normalise

MAX_TOKENS = 16
OVERLAP_TOKENS = 4
SENTENCE = "한 남자가 음식을 먹는다. "
PIECES = [
    "▁",
    "한",
    "▁한",
    "남자",
    "▁남자",
    "가",
    "▁음식",
    "을",
    "먹",
    "는다",
    ".",
    "▁the",
    "word",
    "s",
    "▁w",
    "자가",
    "🙂",
    ".▁한",
]


def unigram(*, prepends: str, normalises: bool = False, splits: bool = True) -> Tokenizer:
    """Return a small Unigram tokenizer with one special token at each end."""
    vocabulary = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)] + [(piece, -1.0 - len(piece) / 7) for piece in PIECES]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepends, split=splits)
    if normalises:
        made.normalizer = normalizers.NFKC()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return made


def word_piece() -> Tokenizer:
    """Return a small WordPiece tokenizer, as BERT has."""
    pieces = [
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "한",
        "남자",
        "##가",
        "음식",
        "##을",
        "먹",
        "##는다",
        ".",
        "w",
        "##o",
        "##r",
        "##d",
    ]
    made = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return made


def byte_level() -> Tokenizer:
    """Return a tokenizer with a token for each byte, as the smallest byte-level BPE has."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({character: n for n, character in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


TOKENIZERS = {
    "unigram": unigram(prepends="always"),
    "unigram without prefix": unigram(prepends="never"),
    "unigram with NFKC": unigram(prepends="always", normalises=True),
    "word piece": word_piece(),
    "bytes": byte_level(),
    "words that run on": unigram(prepends="always", splits=False),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return TOKENIZERS[request.param]


@pytest.fixture(scope="module")
def chunker(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Chunker:
    return make_chunker(tokenizer, tmp_path_factory.mktemp("model"))


def make_chunker(
    tokenizer: Tokenizer, model: Path, max_tokens: int = MAX_TOKENS, overlap_tokens: int = OVERLAP_TOKENS
) -> Chunker:
    tokenizer.save(str(model / "tokenizer.json"))
    return Chunker(model, max_tokens, overlap_tokens)


@pytest.fixture
def small(tmp_path: Path) -> Chunker:
    """A chunker on the Unigram tokenizer, without overlap."""
    return make_chunker(TOKENIZERS["unigram"], tmp_path, overlap_tokens=0)


def chunks_of(chunker: Chunker, text: str, title: str = "") -> list[Chunk]:
    return list(chunker.chunks(Document("id", text, title)))


def without_spaces(text: str) -> str:
    return "".join(text.split())


def test_a_short_text_is_one_chunk(small: Chunker) -> None:
    """What the model reads whole stays whole, and reads it normalised behind its title."""
    (only,) = chunks_of(small, "한 남자가\n먹는다.", "음식")
    assert (only.index, only.text, only.encoded_text) == (0, "한 남자가\n먹는다.", "음식 한 남자가 먹는다.")


def test_chunks_are_numbered_in_order(small: Chunker) -> None:
    """The places of a document's chunks run from 0."""
    chunks = chunks_of(small, SENTENCE * 10)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert len(chunks) > 1


def test_a_text_is_cut_behind_sentences(small: Chunker) -> None:
    """Where a sentence ends in what fits, the cut is there."""
    assert {chunk.text for chunk in chunks_of(small, clean(SENTENCE * 10))} == {SENTENCE.strip()}


def test_a_line_end_is_a_better_joint_than_a_sentence_end(small: Chunker) -> None:
    """Paragraphs stay together."""
    first = chunks_of(small, "한 남자가 음식을 먹는다\n가. 한 남자가 음식을 먹는다. 먹는다.")[0]
    assert first.text == "한 남자가 음식을 먹는다"


def test_without_sentences_it_is_cut_between_words(small: Chunker) -> None:
    """No word is cut where there is a space."""
    words = {word for chunk in chunks_of(small, "남자가 " * 30) for word in chunk.text.split()}
    assert words == {"남자가"}


def test_long_words_are_not_cut_where_a_space_is_near(small: Chunker) -> None:
    """A text of few tokens and many characters is cut at a space too."""
    word = "unknown" * 5  # one token, whatever its length
    words = {part for chunk in chunks_of(small, f"{word} " * 60) for part in chunk.text.split()}
    assert words == {word}


def test_each_chunk_has_the_title(small: Chunker) -> None:
    """A chunk out of the middle is understood under its title."""
    chunks = chunks_of(small, SENTENCE * 10, "음식")
    assert len(chunks) > 1
    assert all(chunk.encoded_text == f"음식 {normalise(chunk.text)}" for chunk in chunks)


def test_a_long_title_leaves_room_for_the_text(small: Chunker) -> None:
    """The model reads a part of the title only; the document keeps all of it."""
    title = "남자가 " * 100
    chunks = chunks_of(small, SENTENCE * 3, title)
    assert len(chunks) <= 6
    assert all(chunk.document.title == title for chunk in chunks)


@pytest.mark.parametrize(
    "text",
    [
        "가" * 500,
        "자가" * 500,
        "words" * 200,
        "뷁" * 300,
        "🙂" * 100,
        "w" * 300,
        "뷁\u3000" * 100,
        "한\u00a0" * 100,
        "가 " * 300,
        "가" + " " * 500 + "나",
        "\n" * 300 + "가",
        ".\n" * 200,
        "㎢㎢" * 50,
    ],
)
@pytest.mark.parametrize("title", ["", "음식", "자가" * 50])
def test_awkward_texts_are_chunked_whole(text: str, title: str, chunker: Chunker, tokenizer: Tokenizer) -> None:
    """Texts without a space, single endless words, runs of white space: nothing is lost, nothing is too long."""
    check(chunks_of(chunker, clean(text), title), clean(text), tokenizer)


awkward = st.text(
    alphabet='한남자가음식을먹는다. the words뷁🙂\n\u3000\u00a0\u2028㎢e\u0301#,:①1()제조항"', min_size=1, max_size=200
)
joints = st.lists(
    st.sampled_from(
        [
            "\n",
            " ",
            "\n\n",
            "# ",
            "\n## ",
            "제1조(정의) ",
            "① ",
            "\n1. ",
            "가. ",
            "한 남자가 먹는다. ",
            "음식: 남자, 한: 가",
            "먹어요 ",
        ]
    ),
    max_size=40,
).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=awkward | joints | st.text(max_size=60), title=awkward | st.just(""))
def test_chunks_hold_the_whole_text_and_fit(text: str, title: str, chunker: Chunker, tokenizer: Tokenizer) -> None:
    """For any text and title: together the chunks are the text, and each is read whole by the model."""
    check(chunks_of(chunker, clean(text), clean(title)), clean(text), tokenizer)


def check(chunks: list[Chunk], text: str, tokenizer: Tokenizer) -> None:
    """Assert that the chunks can be put together to the text, and that the model reads each whole."""
    end = 0
    for chunk in chunks:
        assert chunk.text.strip() == chunk.text != ""
        assert chunk.text == text[chunk.start : chunk.start + len(chunk.text)]
        assert text[end : chunk.start].strip() == ""
        end = chunk.start + len(chunk.text)
        assert chunk.encoded_text == normalise(chunk.encoded_text) != ""
        assert chunk.tokens == len(tokenizer.encode(chunk.encoded_text, add_special_tokens=False).ids)
        # A single character may be more tokens than the model reads; nothing smaller can be made of it.
        assert len(tokenizer.encode(chunk.encoded_text).ids) <= MAX_TOKENS or len(chunk.text) == 1
    assert text[end:].strip() == ""


def test_a_huge_text_is_chunked_in_one_pass(small: Chunker) -> None:
    """Every character is tokenised a bounded number of times: 300,000 characters take seconds, not hours."""
    assert len(chunks_of(small, SENTENCE * 20_000)) == 20_000


def test_the_overlap_is_read_and_not_stored(tmp_path: Path) -> None:
    """The model reads the sentence before a chunk; the chunk's text begins behind it."""
    chunker = make_chunker(TOKENIZERS["unigram"], tmp_path, max_tokens=32, overlap_tokens=10)
    first, second = chunks_of(chunker, clean(SENTENCE * 4))[:2]
    assert first.text == first.encoded_text == clean(SENTENCE * 3)
    assert (second.text, second.encoded_text) == (SENTENCE.strip(), clean(SENTENCE * 2))


def test_a_long_sentence_overlaps_with_its_last_words(tmp_path: Path) -> None:
    """Where no whole sentence fits into the overlap, the words that fit are read."""
    chunker = make_chunker(TOKENIZERS["unigram"], tmp_path, overlap_tokens=4)
    second = chunks_of(chunker, "한 남자가 음식을 먹는다 " * 4)[1]
    overlap = second.encoded_text.removesuffix(f" {normalise(second.text)}")
    assert 0 < len(overlap.split()) <= 4
    assert overlap != second.encoded_text


def test_headings_are_read_above_a_chunk(tmp_path: Path) -> None:
    """A chunk below `# 남자` and `## 음식` is read with both, without their marks; the overlap stays in its section."""
    chunker = make_chunker(TOKENIZERS["unigram"], tmp_path, max_tokens=36)
    text = f"# 남자\n{SENTENCE}\n## 음식\n{SENTENCE * 4}\n# 자가\n{SENTENCE * 4}"
    read = [chunk.encoded_text for chunk in chunks_of(chunker, clean(text))]
    assert read == [
        f"남자 {SENTENCE}음식 {clean(SENTENCE * 2)}",
        f"남자 음식 먹는다. {clean(SENTENCE * 2)}",
        f"자가 {clean(SENTENCE * 3)}",
        f"자가 먹는다. {clean(SENTENCE)}",
    ]


def test_a_row_that_is_cut_repeats_the_name_of_its_cell(tmp_path: Path) -> None:
    """Who reads the second half of a long cell reads what it is about; a row is cut between cells where possible."""
    chunker = make_chunker(TOKENIZERS["unigram"], tmp_path, max_tokens=24, overlap_tokens=0)
    first, *others = chunks_of(chunker, f"가: 한, 음식: {'남자가 ' * 40}")
    assert first.encoded_text.startswith("가: 한")
    assert others
    assert all(chunk.encoded_text == f"음식: {chunk.text}" for chunk in others)


def test_the_signature_tells_what_chunks_depend_on(tmp_path: Path) -> None:
    """Another overlap, another reach or another tokenizer is another signature; the same are the same."""
    signatures = [
        make_chunker(TOKENIZERS["unigram"], tmp_path).signature,
        make_chunker(TOKENIZERS["unigram"], tmp_path, overlap_tokens=0).signature,
        make_chunker(TOKENIZERS["unigram"], tmp_path, max_tokens=32).signature,
        make_chunker(TOKENIZERS["bytes"], tmp_path).signature,
    ]
    assert len(set(signatures)) == 4
    assert make_chunker(TOKENIZERS["unigram"], tmp_path).signature == signatures[0]


def test_a_text_without_line_ends_and_spaces_does_not_wait_for_patterns(small: Chunker) -> None:
    """Long runs of white space and brackets cost no more than their length."""
    text = "가" + " \n" * 30_000 + "나" + "(" * 30_000 + "제1조(" * 10_000
    assert without_spaces("".join(chunk.text for chunk in chunks_of(small, text))) == without_spaces(text)
