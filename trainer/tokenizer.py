"""The model's own tokenizer: a Unigram vocabulary whose pieces follow Korean morphemes.

Kiwi cuts each word of the training text into its content part and its chain of particles and endings, and the
vocabulary is learned inside these parts. At run time no morphological analysis is needed: the most probable path through
the pieces falls on the same borders (`남자가` -> `▁남자 가`), so one noun has one embedding whatever follows it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from kiwipiepy import Token
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer
from transformers import PreTrainedTokenizerFast

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = [PAD, UNK, CLS, SEP, MASK]
WORD_START = "▁"
_BYTE_PIECES = [f"<0x{byte:02X}>" for byte in range(256)]
# A byte piece must lose against every learned piece: learned log-probabilities lie above -20.
_BYTE_SCORE = -30.0
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


def _without_rare_characters(counts: Counter[str], minimum_count: int) -> dict[str, int]:
    """Drop parts with a rare character: the trainer would spend a piece on each of the dump's Hanja and emoji."""
    characters: Counter[str] = Counter()
    for part, count in counts.items():
        for character in part:
            characters[character] += count
    return {p: n for p, n in counts.items() if len(p) <= 16 and all(characters[c] >= minimum_count for c in p)}


def _repeated(counts: dict[str, int], highest: int = 2_000) -> Iterator[str]:
    """Each part as often as it was counted: the trainer takes text, not counts. Thinned by the square root above
    `highest`, which keeps the order of frequency and bounds the time."""
    for part, count in sorted(counts.items()):
        times = count if count <= highest else int(highest * (count / highest) ** 0.5)
        for start in range(0, times, 100):
            yield " ".join([part] * min(100, times - start))


def train_unigram_pieces(
    parts: Iterable[str], piece_count: int, minimum_character_count: int = 30
) -> list[tuple[str, float]]:
    """Learn at most `piece_count` pieces with their log-probabilities from word parts. Source: Kudo, ACL 2018."""
    counts = _without_rare_characters(Counter(part.lower() for part in parts), minimum_character_count)
    learner = Tokenizer(Unigram())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = UnigramTrainer(vocab_size=piece_count, unk_token=UNK, special_tokens=[UNK], max_piece_length=12)
    learner.train_from_iterator(_repeated(counts), trainer)
    vocabulary: list[tuple[str, float]] = [
        (piece, float(score))
        for piece, score in __import__("json").loads(learner.to_str())["model"]["vocab"]
        if piece != UNK
    ]
    return vocabulary


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
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_tokens,
        pad_token=PAD, unk_token=UNK, cls_token=CLS, sep_token=SEP, mask_token=MASK,
    )
