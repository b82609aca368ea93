"""The model's own tokenizer: a Unigram vocabulary whose pieces follow Korean morphemes.

Kiwi cuts each word of the training text into its content part and its chain of particles and endings, and the
vocabulary is learned inside these parts. At run time no morphological analysis is needed: the most probable path
through the pieces falls on the same borders (`남자가` -> `▁남자 가`), so one noun has one embedding whatever follows.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

from kiwipiepy import Token
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = [PAD, UNK, CLS, SEP, MASK]
WORD_START = "▁"
_BYTE_PIECES = [f"<0x{byte:02X}>" for byte in range(256)]
# A byte piece must lose against every learned piece: learned log-probabilities lie above -20.
_BYTE_SCORE = -30.0
# The space as a piece of its own is for words whose first character is unknown; it must be dearer than any `▁남자`.
_SPACE_SCORE = -15.0
# Kiwi's tags for particles, endings and suffixes; they join into one chain (`에서는`, `하고`).
_CHAIN_TAGS = ("J", "E", "XS", "VC")


def word_parts(text: str, tokens: Sequence[Token]) -> list[str]:
    """Cut a text at the borders between content morphemes and chains. A word's first part starts with `▁`.

    Morphemes that overlap in the surface (`했` = 하 + 었) stay in one part.
    """
    starts = {0}
    previous_end, is_in_chain = 0, False
    for token in tokens:
        is_chain = token.tag.startswith(_CHAIN_TAGS)
        if token.start >= previous_end and not (is_chain and is_in_chain):
            starts.add(token.start)
        is_in_chain = is_chain
        previous_end = max(previous_end, token.end)
    parts: list[str] = []
    for start, end in itertools.pairwise([*sorted(starts), len(text)]):
        begins_word = start == 0 or text[start - 1].isspace()
        for offset, word in enumerate(text[start:end].split()):
            parts.append(WORD_START + word if begins_word or offset > 0 else word)
    return parts


def choose_pieces(counts: Counter[str], piece_count: int, minimum_character_count: int = 30) -> list[tuple[str, float]]:
    """At most `piece_count` pieces with log-probabilities, most frequent first: the maximum-likelihood unigram model.

    Kiwi has already cut the words, so counting its parts replaces the expectation-maximisation of Kudo (ACL 2018),
    which prefers `▁` + `의` + `상` to `▁의상`. Every character that occurs `minimum_character_count` times is a piece
    as well; it counts as often as it stands in parts that are not pieces.
    """
    lowered: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    for part, count in counts.items():
        lowered[part.lower()] += count
        for character in part.lower():
            characters[character] += count
    alphabet = {c for c, count in characters.items() if count >= minimum_character_count and c != WORD_START}
    candidates = [(p, n) for p, n in lowered.most_common() if p not in alphabet and p != WORD_START]
    chosen = dict(candidates[: piece_count - len(alphabet)])
    spelled: Counter[str] = Counter(dict.fromkeys(alphabet, 1))
    for part, count in lowered.items():
        if part in alphabet:
            spelled[part] += count
        elif part not in chosen:
            spelled.update({c: count for c in part if c in alphabet})
    counted = Counter(chosen)
    counted.update(spelled)
    total = sum(counted.values())
    pieces = [(piece, math.log(count / total)) for piece, count in counted.most_common()]
    return [*pieces, (WORD_START, _SPACE_SCORE)]


def build_tokenizer(pieces: Sequence[tuple[str, float]], max_tokens: int) -> PreTrainedTokenizerFast:
    """A fast tokenizer with NFC, lower case and byte fallback: no character is ever lost.

    Ids: 0-4 the special tokens, then 256 bytes, then the pieces. Output is `[CLS] pieces [SEP]`.
    """
    vocabulary = [(token, 0.0) for token in SPECIAL_TOKENS]
    vocabulary += [(piece, _BYTE_SCORE) for piece in _BYTE_PIECES]
    vocabulary += list(pieces)
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=1, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD_START, prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement=WORD_START)])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B {SEP}", special_tokens=[(CLS, 2), (SEP, 3)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # the library leaves it untyped
        tokenizer_object=tokenizer,
        model_max_length=max_tokens,
        pad_token=PAD,
        unk_token=UNK,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
    )
