"""KoBERT's tokenizer gives the ids of its reference, and loads and saves as any fast tokenizer."""

import io
import json
import re
import unicodedata
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

import sentencepiece
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from kosearch.errors import ModelError
from trainer.encoders.kobert_tokenizer import convert_tokenizer, read_sentencepiece, read_vocabulary

# Texts of our own with the reference's ids; `benchmarks/kobert_parity.py --write-sample` makes it.
SAMPLE = json.loads(Path(__file__).with_name("kobert_sample.json").read_text(encoding="utf-8"))
TEXTS = [row["text"] for row in SAMPLE]
KOBERT = Path(__file__).parents[4] / "shared" / "data" / "kobert"
VOCABULARY = KOBERT / "kobertvocab_f38b8a4d6d.json"
SHARED = "한국어 모델을 공유합니다."
SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]

needs_kobert = pytest.mark.skipif(not VOCABULARY.is_file(), reason=f"{KOBERT} is not there")


def train_sentencepiece(path: Path, **options: object) -> Path:
    """Learn a small model of KoBERT's kind, with SentencePiece itself, from the sample's texts."""
    written = io.BytesIO()
    # A digit and its comma must not become one piece: the reference would cut it again.
    texts = [text for text in map(prepared, TEXTS) if not re.search(r"\d,|\[", text)]
    kind = {"unk_piece": "[UNK]", "unk_id": 0, "bos_id": -1, "eos_id": -1, "pad_id": -1, "vocab_size": 900}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=written,
        minloglevel=2,
        **{**kind, "user_defined_symbols": SPECIAL[1:], "hard_vocab_limit": False, **options},
    )
    path.write_bytes(written.getvalue())
    return path


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_sentencepiece(tmp_path_factory.mktemp("small") / "spiece.model")


@pytest.fixture(scope="module")
def small(small_model: Path) -> PreTrainedTokenizerFast:
    return convert_tokenizer(read_sentencepiece(small_model), max_tokens=64)


@pytest.fixture(scope="module")
def kobert() -> PreTrainedTokenizerFast:
    return convert_tokenizer(read_sentencepiece(KOBERT / "spiece.model"), read_vocabulary(VOCABULARY))


def prepared(text: str) -> str:
    """What the reference's Python code does before SentencePiece."""
    text = " ".join(text.strip().split()).replace("``", '"').replace("''", '"')
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


@needs_kobert
def test_the_ids_of_kobert_are_those_of_the_reference(kobert: PreTrainedTokenizerFast) -> None:
    assert len(SAMPLE) >= 300
    different = [row["text"] for row in SAMPLE if kobert(row["text"])["input_ids"] != row["ids"]]
    assert different == []


@needs_kobert
def test_of_two_equally_probable_ways_the_earlier_piece_is_the_shorter(kobert: PreTrainedTokenizerFast) -> None:
    """The one place where the reference may differ: it adds up in 32 bits, so that rounding decides there."""
    assert kobert.tokenize("2,000년") == ["▁2", ",", "0", "00", "년"]


@needs_kobert
def test_the_published_example_has_its_published_ids(kobert: PreTrainedTokenizerFast) -> None:
    assert kobert(SHARED)["input_ids"] == [2, 4958, 6855, 2046, 7088, 1050, 7843, 54, 3]
    assert kobert.convert_tokens_to_ids(SPECIAL) == [0, 1, 2, 3, 4]
    assert len(kobert) == 8002


@needs_kobert
def test_the_ids_are_a_text_again(kobert: PreTrainedTokenizerFast) -> None:
    assert kobert.decode(kobert(SHARED)["input_ids"], skip_special_tokens=True) == SHARED


@needs_kobert
def test_kobert_with_and_without_its_vocabulary_file_is_the_same(kobert: PreTrainedTokenizerFast) -> None:
    without = convert_tokenizer(read_sentencepiece(KOBERT / "spiece.model"))
    assert without.get_vocab() == kobert.get_vocab()


def test_a_converted_model_gives_the_ids_of_sentencepiece(small: PreTrainedTokenizerFast, small_model: Path) -> None:
    original = sentencepiece.SentencePieceProcessor(model_file=str(small_model))
    texts = [text for text in TEXTS if not any(token in text for token in SPECIAL)]
    expected = [[2, *original.encode(prepared(text)), 3] for text in texts]
    different = [text for text, ids in zip(texts, expected, strict=True) if small(text)["input_ids"] != ids]
    assert different == []


def test_special_tokens_written_in_a_text_are_special_tokens(small: PreTrainedTokenizerFast) -> None:
    assert small("[CLS] [MASK][SEP]", add_special_tokens=False)["input_ids"] == [2, 4, 3]


def test_a_pair_is_framed_and_typed_as_kobert_was_trained(small: PreTrainedTokenizerFast) -> None:
    pair = small("한국어", "모델", return_token_type_ids=True)
    first, second = (small(text, add_special_tokens=False)["input_ids"] for text in ("한국어", "모델"))
    assert pair["input_ids"] == [2, *first, 3, *second, 3]
    assert pair["token_type_ids"] == [0] * (len(first) + 2) + [1] * (len(second) + 1)


def test_padding_and_truncation_follow_the_model(small: PreTrainedTokenizerFast) -> None:
    batch = small([SHARED * 50, "한국어"], padding=True, truncation=True)
    assert [len(ids) for ids in batch["input_ids"]] == [64, 64]
    assert batch["input_ids"][1][-1] == 1
    assert batch["attention_mask"][1][-1] == 0


def test_a_saved_tokenizer_loads_without_code_of_its_own(small: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    assert reloaded(TEXTS)["input_ids"] == small(TEXTS)["input_ids"]
    assert reloaded.model_max_length == 64
    assert reloaded.special_tokens_map == small.special_tokens_map
    assert "auto_map" not in json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))


def test_a_tokenizer_saves_under_a_prefix(small: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """`save_vocabulary(folder, filename_prefix=...)` is the call that the reference does not know."""
    (vocabulary,) = small.save_vocabulary(str(tmp_path), filename_prefix="x")
    small.save_pretrained(tmp_path, filename_prefix="x")
    from_vocabulary = convert_tokenizer(read_sentencepiece(Path(vocabulary)), max_tokens=64)
    from_tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "x-tokenizer.json"))
    assert Path(vocabulary).name == "x-tokenizer.model"
    assert from_vocabulary(TEXTS)["input_ids"] == small(TEXTS)["input_ids"]
    assert from_tokenizer(TEXTS)["input_ids"] == small(TEXTS)["input_ids"]


def test_ids_follow_the_vocabulary_file(small_model: Path, tmp_path: Path) -> None:
    pieces = [piece.text for piece in read_sentencepiece(small_model).pieces]
    reordered = [*pieces[:5], *reversed(pieces[5:])]
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in reordered), encoding="utf-8")
    (tmp_path / "vocab.json").write_text(json.dumps({"idx_to_token": reordered}), encoding="utf-8")
    for name in ("vocab.txt", "vocab.json"):
        tokenizer = convert_tokenizer(read_sentencepiece(small_model), read_vocabulary(tmp_path / name))
        assert tokenizer.convert_ids_to_tokens(list(range(len(pieces)))) == reordered


def test_a_vocabulary_of_another_model_is_refused(small_model: Path) -> None:
    with pytest.raises(ModelError, match="take both files from the same model"):
        convert_tokenizer(read_sentencepiece(small_model), [*SPECIAL, "▁다른"])


@pytest.mark.parametrize("content", ["[]", "{}", '{"idx_to_token": 5}', "{"])
def test_a_damaged_vocabulary_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="no vocabulary of KoBERT"):
        read_vocabulary(tmp_path / "vocab.json")


def test_an_absent_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"spiece\.model cannot be read"):
        read_sentencepiece(tmp_path / "spiece.model")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_a_file_that_is_no_sentencepiece_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(ModelError, match="no SentencePiece"):
        read_sentencepiece(tmp_path / "spiece.model")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = train_sentencepiece(tmp_path / "bpe.model", model_type="bpe")
    with pytest.raises(ModelError, match="no SentencePiece unigram model"):
        read_sentencepiece(path)


def test_a_model_without_kobert_s_special_tokens_is_refused(tmp_path: Path) -> None:
    path = train_sentencepiece(tmp_path / "xlnet.model", user_defined_symbols=["<cls>", "<sep>"])
    with pytest.raises(ModelError, match="no SentencePiece model of KoBERT"):
        convert_tokenizer(read_sentencepiece(path))


def test_a_model_whose_pieces_the_reference_would_cut_again_is_refused(tmp_path: Path) -> None:
    path = train_sentencepiece(tmp_path / "commas.model", user_defined_symbols=[*SPECIAL[1:], "7,"])
    with pytest.raises(ModelError, match="digit and a comma"):
        convert_tokenizer(read_sentencepiece(path))
