"""KoBERT's tokenizer as a plain fast tokenizer, id for id equal to `KoBertTokenizer` of `kobert-transformers`.

The reference (Apache-2.0, transformers < 5) is Python code round a SentencePiece model: XLNet's preparation of the
text, then SentencePiece's own normalisation and its most probable path through the pieces. Each step becomes one of the
`tokenizers` library here, so that `tokenizer.json` holds everything, with nothing patched and no code of its own.

Source: kobert_transformers/tokenization_kobert.py 0.6.0; Kudo & Richardson, SentencePiece, EMNLP 2018.
`benchmarks/kobert_parity.py` compares both sides.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

from kosearch.errors import ModelError

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (UNK, PAD, CLS, SEP, MASK)
WORD_START = "▁"
# SentencePiece scores a user-defined piece by its length in bytes. Source: unigram_model.cc, EncodeOptimized.
_USER_DEFINED_COST = 0.1


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of a SentencePiece model; `score` is its log-probability."""

    text: str
    score: float
    is_normal: bool
    is_user_defined: bool


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """What a SentencePiece unigram model file says. `charsmap` is its compiled normalisation (NFKC and spaces)."""

    path: Path
    pieces: tuple[Piece, ...]
    charsmap: bytes


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Read a SentencePiece unigram model. Raises ModelError when it is absent, damaged or of another kind."""
    definitions = import_protobuf()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    proto = definitions.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error}); copy KoBERT's SentencePiece model there") from error
    except DecodeError as error:
        raise ModelError(f"{path} is no SentencePiece model, or the copy is damaged; copy it again") from error
    if not proto.pieces or proto.trainer_spec.model_type != definitions.TrainerSpec.UNIGRAM:
        raise ModelError(f"{path} is no SentencePiece unigram model; KoBERT's has 8,002 pieces of that kind")
    kinds = definitions.ModelProto.SentencePiece
    pieces = tuple(
        Piece(piece.piece, piece.score, piece.type == kinds.NORMAL, piece.type == kinds.USER_DEFINED)
        for piece in proto.pieces
    )
    return SentencePieceModel(path, pieces, proto.normalizer_spec.precompiled_charsmap)


def is_of_kobert_kind(model: SentencePieceModel) -> bool:
    """Whether the special tokens are KoBERT's; others (`<s>`, `<pad>`) belong to XLM-R, ALBERT or T5."""
    return {piece.text for piece in model.pieces}.issuperset(SPECIAL_TOKENS)


def read_vocabulary(path: Path) -> list[str]:
    """Tokens in the order of their ids, from GluonNLP's JSON (`idx_to_token`) or a text file with one token a line.

    Raises ModelError when the file is absent or of another form.
    """
    try:
        content = path.read_text(encoding="utf-8")
        # Like the reference: lines end with "\n" only, since other separators may be tokens.
        tokens = json.loads(content)["idx_to_token"] if path.suffix == ".json" else content.rstrip("\n").split("\n")
        return [token.strip() for token in tokens]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is no vocabulary of KoBERT ({error!r}); copy it from where the model is") from error


def convert_tokenizer(
    model: SentencePieceModel, vocabulary: Sequence[str] | None = None, max_tokens: int = 512
) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a KoBERT-like SentencePiece model. Output is `[CLS] pieces [SEP]`, pairs as types 0 and 1.

    `vocabulary` holds the tokens in the order of their ids; without one, ids are those of the SentencePiece model.
    Raises ModelError when the two do not hold the same tokens or a special token is missing.
    """
    scores = {piece.text: score for piece, score in zip(model.pieces, _scores(model.pieces), strict=True)}
    tokens = list(scores) if vocabulary is None else list(vocabulary)
    _check_tokens(model, tokens)
    ids = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(Unigram([(token, scores[token]) for token in tokens], unk_id=ids[UNK]))
    tokenizer.normalizer = _normalizer(model.charsmap, {character for token in tokens for character in token})
    # SentencePiece never matches the unknown token, the Unigram model here would: the second step cuts it apart when
    # it comes out of the normalisation (`［UNK］`). Written as it is, it is a special token and never gets this far.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=WORD_START, prepend_scheme="always"),
            pre_tokenizers.Split(Regex(r"\[(?=UNK\])"), "merged_with_previous"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=WORD_START, prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(CLS, ids[CLS]), (SEP, ids[SEP])],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # the library leaves it untyped
        tokenizer_object=tokenizer,
        vocab_file=str(model.path),  # what `save_vocabulary` copies
        model_max_length=max_tokens,
        clean_up_tokenization_spaces=False,
        pad_token=PAD,
        unk_token=UNK,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
    )


def character_class(is_member: Callable[[str], object]) -> str:
    """A regular expression's class, `[\\x{9}-\\x{D}...]`, of all characters for which `is_member` is true."""
    ranges: list[list[int]] = []
    for code_point in _code_points():
        if is_member(chr(code_point)):
            if ranges and ranges[-1][1] == code_point - 1:
                ranges[-1][1] = code_point
            else:
                ranges.append([code_point, code_point])
    return "[" + "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in ranges) + "]"


def _code_points() -> Iterable[int]:
    surrogates = range(0xD800, 0xE000)
    return (code_point for code_point in range(0x110000) if code_point not in surrogates)


def _normalizer(charsmap: bytes, known_characters: set[str]) -> normalizers.Normalizer:
    """The reference's `preprocess_text`, then SentencePiece's normalisation.

    White space is Python's `str.split`, combining marks are those of a non-zero combining class. SentencePiece puts
    the syllables together again that NFKD took apart; its compiled table is asked for the longest match there, the
    library's reading of it gives the shortest, so NFC does this part.
    """
    steps: list[normalizers.Normalizer] = [
        normalizers.Replace(Regex(character_class(lambda c: c.isspace() and c != " ")), " "),
        normalizers.Replace(Regex(" {2,}"), " "),
        normalizers.Strip(),
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
        *(normalizers.Replace(old, new) for old, new in _newer_decompositions(known_characters)),
        normalizers.NFKD(),
        normalizers.Replace(Regex(character_class(unicodedata.combining)), ""),
        normalizers.NFC(),
    ]
    if charsmap:
        steps.append(normalizers.Precompiled(charsmap))
    # NFKD and the table make spaces of their own.
    steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    return normalizers.Sequence(steps)


def _newer_decompositions(known_characters: set[str]) -> list[tuple[str, str]]:
    """Characters that Python's Unicode tables take apart into known ones, and the older tables of `tokenizers` do not.

    Seventeen for KoBERT: segmented digits and a few modifier letters.
    """
    nfkd = normalizers.NFKD()
    found: list[tuple[str, str]] = []
    for character in map(chr, _code_points()):
        if unicodedata.decomposition(character):
            decomposed = unicodedata.normalize("NFKD", character)
            if not known_characters.isdisjoint(decomposed) and nfkd.normalize_str(character) != decomposed:
                found.append((character, decomposed))
    return found


def _scores(pieces: Sequence[Piece]) -> list[float]:
    """Scores as SentencePiece weighs them; never below the lowest, from which the cost of an unknown one is counted."""
    learned = [piece.score for piece in pieces if piece.is_normal]
    lowest, highest = min(learned), max(learned)
    scores = []
    for piece in pieces:
        if piece.is_normal:
            scores.append(piece.score)
        elif piece.is_user_defined:
            scores.append(max(lowest, len(piece.text.encode()) * highest - _USER_DEFINED_COST))
        else:
            scores.append(lowest)
    return scores


def _check_tokens(model: SentencePieceModel, tokens: Sequence[str]) -> None:
    pieces = {piece.text for piece in model.pieces}
    if not is_of_kobert_kind(model):
        raise ModelError(
            f"{model.path} lacks some of {', '.join(SPECIAL_TOKENS)}: it is no SentencePiece model of KoBERT"
        )
    if pieces != set(tokens) or len(tokens) != len(pieces):
        differing = len(pieces.symmetric_difference(tokens))
        raise ModelError(
            f"{model.path} has {len(pieces)} pieces and the vocabulary {len(tokens)} tokens, {differing} of which "
            "differ: take both files from the same model"
        )
    # The reference cuts such a piece once more. KoBERT has none, and a fast tokenizer has no step for it.
    cut_again = [piece for piece in pieces if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()]
    if cut_again:
        raise ModelError(f"{model.path} has pieces that end in a digit and a comma ({cut_again[0]!r}): not KoBERT's")
