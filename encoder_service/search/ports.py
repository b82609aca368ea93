"""What a search asks of its neighbours: the models that encode, and whoever knows Korean."""

from collections.abc import Sequence
from typing import Protocol

from encoder_service.encoder import Encoded, Options
from encoder_service.engines.engine import TokenEmbeddings
from kosearch.korean.morphemes import Term
from kosearch.korean.plausibility import Morpheme
from kosearch.korean.reading import ReadingOptions
from kosearch.sparse_vectors import SparseVector


class QueryEncoder(Protocol):
    """What a searcher asks of the encoder."""

    async def encode(self, texts: Sequence[str], options: Options) -> Encoded:
        """Encode texts in the order given."""
        ...

    async def encode_tokens(self, texts: Sequence[str], options: Options) -> list[TokenEmbeddings]:
        """Encode each token of texts: shape (tokens, dim) per text."""
        ...


class QueryModels(Protocol):
    """The models that queries can be encoded with."""

    def encoder_of(self, fingerprint: str) -> QueryEncoder | None:
        """The encoder of the model with this fingerprint, if there is one."""
        ...

    def names(self) -> list[str]:
        """Names of all models."""
        ...


class ReadQuery(Protocol):
    """What is searched for: `text` by meaning, `lexical_text` by words."""

    @property
    def text(self) -> str:
        """The text to encode."""
        ...

    @property
    def lexical_text(self) -> str:
        """The text to take words from."""
        ...

    @property
    def morphemes(self) -> Sequence[Morpheme] | None:
        """Those of the text to take words from, where they are known."""
        ...


class Korean(Protocol):
    """What a searcher asks of whoever knows Korean."""

    async def read(self, query: str, options: ReadingOptions) -> ReadQuery:
        """Mend a normalised query as far as it may be."""
        ...

    async def query_vector(self, query: ReadQuery) -> SparseVector:
        """The words of a query with their weights; empty where it has none that tell documents apart."""
        ...

    async def terms(self, texts: Sequence[str]) -> Sequence[Sequence[Term]]:
        """The words of each text with their places."""
        ...
