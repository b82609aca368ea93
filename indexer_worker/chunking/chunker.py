"""Cuts a document into chunks that the model reads whole, and gives each what it needs to be understood by itself."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from indexer_worker.chunking.joints import Cut, Joint, best_cut, first_begin
from indexer_worker.chunking.outline import Heading, Outline
from indexer_worker.chunking.table_rows import cell_name
from indexer_worker.chunking.windows import Window, WindowTokenizer, flat
from kosearch.documents import Chunk, Document
from kosearch.text import normalise

# Raise it when the same document would be cut differently, or the model would read something else of a chunk:
# what was indexed before is then known to be stale.
CHUNKING_VERSION = 2
# One sentence: those of KorSTS have 24 tokens in the mean. The one before a chunk holds the subject that Korean omits.
DEFAULT_OVERLAP_TOKENS = 32

# More than these shares of the model's reach would crowd out the text.
_TITLE_SHARE = 0.25
_HEADINGS_SHARE = 0.125
_OVERLAP_SHARE = 0.5
# Characters that are tokenised at once for each token of the reach. Korean has about 2; a text with more is tokenised
# again in longer windows, up to a bound that keeps a document of one endless word linear.
_CHARACTERS_PER_TOKEN = 2.6
_MOST_CHARACTERS_PER_TOKEN = 8
_MARGIN = 1.15
# A text of so few characters for each token nearly always fits, and only has to be counted.
_CHARACTERS_THAT_FIT = 1.7

_WORD = re.compile(r"\S")
_MARKS = re.compile(r"#{1,6}\s+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk before it gets its number, and what ends it.

    start, end: of its text in the document's
    tokens: of `encoded_text`, special tokens not counted
    """

    start: int
    end: int
    encoded_text: str
    tokens: int
    joint: Joint


class Chunker:
    """Chunks by the model's own tokenizer, so that no part of a document is silently not embedded.

    The texts of a document's chunks are slices of its text that neither overlap nor leave out anything but white
    space: with `start` they can be put together again. What helps the model to understand a chunk stands in its
    `encoded_text` only: the title, the headings above it, the name of the column when a row of a table is cut within a
    cell, and the end of the chunk before, from the beginning of a sentence on, up to `overlap_tokens`. This overlap
    never reaches back over a heading and takes at most half of what the model reads.

    The document's text has to be cleaned, as `Document` says.
    """

    def __init__(self, model: Path, max_tokens: int, overlap_tokens: int = DEFAULT_OVERLAP_TOKENS) -> None:
        content = (model / "tokenizer.json").read_bytes()
        self._tokenizer = WindowTokenizer(content)
        self._budget = max(1, max_tokens - self._tokenizer.special_tokens)
        self._overlap = min(overlap_tokens, int(self._budget * _OVERLAP_SHARE))
        self._tokenizer_fingerprint = hashlib.sha256(content).hexdigest()

    @property
    def signature(self) -> str:
        """Return a SHA-256 in hex of all that the chunks of a document depend on, beside the document."""
        kiwi = [version("kiwipiepy"), version("kiwipiepy_model")]
        parts = [CHUNKING_VERSION, self._tokenizer_fingerprint, self._budget, self._overlap, *kiwi]
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()

    def chunks(self, document: Document) -> Iterator[Chunk]:
        """Yield the chunks of a document in order."""
        for index, piece in enumerate(self.pieces(document)):
            text = document.text[piece.start : piece.end]
            yield Chunk(document, index, text, piece.encoded_text, piece.tokens, piece.start)

    def pieces(self, document: Document) -> Iterator[Piece]:
        """Yield the chunks of a document in order, as places in its text."""
        title = normalise(document.title)
        text = document.text.rstrip()
        begin = _next_word(text, 0)
        if begin == len(text):
            return
        prefix = f"{title} " if title else ""
        first = _behind_marks(text, begin)
        if len(prefix) + len(text) - first <= self._budget * _CHARACTERS_THAT_FIT:
            read = prefix + flat(text[first:])
            tokens = self._tokenizer.count(read)
            if tokens <= self._budget:  # most documents: one call of the tokenizer
                yield Piece(begin, len(text), read, tokens, Joint.END_OF_TEXT)
                return
        window = self._tokenizer.window(
            text, first, begin + int(self._budget * _CHARACTERS_PER_TOKEN * _MARGIN), prefix
        )
        if window.is_rest and len(window.offsets) <= self._budget:
            yield Piece(begin, len(text), window.flat, len(window.offsets), Joint.END_OF_TEXT)
            return
        shown_title = self._tokenizer.shortened(title, int(self._budget * _TITLE_SHARE))
        cutter = _Cutter(self._tokenizer, self._budget, self._overlap, text, shown_title)
        yield from cutter.pieces(begin, window if shown_title == title else None)


class _Cutter:
    """Cuts one document that does not fit whole."""

    def __init__(self, tokenizer: WindowTokenizer, budget: int, overlap: int, text: str, title: str) -> None:
        self._tokenizer = tokenizer
        self._budget = budget
        self._overlap = overlap
        self._text = text
        self._title = title
        self._outline = Outline(text)
        self._breadcrumbs: dict[tuple[Heading, ...], str] = {}
        self._characters_per_token = _CHARACTERS_PER_TOKEN

    def pieces(self, begin: int, window: Window | None) -> Iterator[Piece]:
        """Yield the pieces from `begin` on; `window` is the first one, where it has been tokenised."""
        context = begin
        while begin < len(self._text):
            window = self._reaching(window or self._window(context, begin, self._prefix(context)), begin)
            piece = self._piece(window, begin)
            if piece is None and context < begin:  # no room beside the overlap
                context, window = begin, None
                continue
            if piece is None and window.prefix:  # no room beside title and headings
                window = self._window(context, begin, "")
                continue
            assert piece is not None
            yield piece
            context = self._context(window, piece)
            begin, window = _next_word(self._text, piece.end), None

    def _piece(self, window: Window, begin: int) -> Piece | None:
        """Return the piece that begins there; None when nothing of it fits and something may be left out before it."""
        body = _behind_marks(self._text, begin)
        is_bare = not window.prefix and window.begin >= begin
        fits = len(window.offsets) <= self._budget
        if fits and window.is_rest:
            return Piece(begin, len(self._text), window.flat, len(window.offsets), Joint.END_OF_TEXT)
        limit = window.stop if fits else window.place_of(self._budget)
        if limit <= body and not is_bare:
            return None
        cut = best_cut(self._text, body, max(limit, body + 1))
        while True:
            end = body + len(self._text[body : cut.place].rstrip())
            encoded_text, tokens = self._read(window, end)
            if tokens <= self._budget:
                return Piece(begin, end, encoded_text, tokens, cut.joint)
            if end <= body + 1:
                # A single character may be more than the model reads; nothing smaller can be made of it.
                return Piece(begin, end, encoded_text, tokens, cut.joint) if is_bare else None
            too_many = (end - body) * (tokens - self._budget) // tokens
            cut = Cut(max(body + 1, end - max(1, too_many)), Joint.ANYWHERE)

    def _read(self, window: Window, end: int) -> tuple[str, int]:
        """Return what the model reads until `end`, and its tokens; tokenised again only when it ends within a word."""
        encoded_text = window.reading_until(end)
        counted = window.tokens_of(encoded_text) if self._tokenizer.splits_at_spaces else None
        return encoded_text, self._tokenizer.count(encoded_text) if counted is None else counted

    def _context(self, window: Window, piece: Piece) -> int:
        """Return where the overlap of the next piece begins: with a sentence, or a word when that is too long."""
        place = _next_word(self._text, piece.end)
        if self._overlap == 0 or piece.joint in {Joint.SECTION, Joint.END_OF_TEXT}:
            return place
        earliest = max(piece.start, self._outline.section_start(place))
        first_token = piece.tokens - self._overlap
        low = window.place_of(first_token) if first_token > 0 else earliest
        return earliest if low <= earliest else first_begin(self._text, low, place)

    def _prefix(self, context: int) -> str:
        above = self._outline.move_to(context)
        if above not in self._breadcrumbs:
            self._breadcrumbs[above] = self._breadcrumb(above)
        parts = (self._title, self._breadcrumbs[above], normalise(cell_name(self._text, context)))
        return "".join(f"{part} " for part in parts if part)

    def _breadcrumb(self, above: tuple[Heading, ...]) -> str:
        """Return the headings that fit, outermost first; the outermost are left out first."""
        titles = [title for heading in above if (title := normalise(heading.title)) not in self._title]
        tokens = int(self._budget * _HEADINGS_SHARE)
        while len(titles) > 1 and self._tokenizer.count(" ".join(titles)) > tokens:
            titles.pop(0)
        return self._tokenizer.shortened(" ".join(titles), tokens)

    def _window(self, context: int, begin: int, prefix: str) -> Window:
        size = int(self._budget * self._characters_per_token * _MARGIN) - len(prefix)
        stop = max(begin + self._budget // 4, context + size)
        return self._tokenizer.window(self._text, _behind_marks(self._text, context), stop, prefix)

    def _reaching(self, window: Window, begin: int) -> Window:
        """Return the window, longer when more than that may fit."""
        last = begin + self._budget * _MOST_CHARACTERS_PER_TOKEN
        while len(window.offsets) <= self._budget and not window.is_rest and window.stop < last:
            stop = min(last, window.stop + (window.stop - window.begin))
            window = self._tokenizer.window(window.text, window.begin, stop, window.prefix)
        if window.offsets:
            characters = len(window.prefix) + window.stop - window.begin
            self._characters_per_token = max(0.25, characters / len(window.offsets))
        return window


def _next_word(text: str, place: int) -> int:
    """Return where the first word from `place` on begins; the length of the text when there is none."""
    found = _WORD.search(text, place)
    return found.start() if found else len(text)


def _behind_marks(text: str, place: int) -> int:
    """Return the place behind the marks of a heading, which the model need not read."""
    marks = _MARKS.match(text, place) if place == 0 or text[place - 1] == "\n" else None
    return marks.end() if marks and marks.end() < len(text) else place
