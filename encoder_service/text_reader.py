"""The texts of a call to token ids: counted, given their prompt, tokenised beside the event loop."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from enum import Enum

from encoder_service.tokeniser import LongText, TokenisedTexts, Tokeniser
from kosearch.errors import InvalidRequestError
from kosearch.model_directory import ModelDirectory

# Texts of so few characters are tokenised in the event loop: it takes 0.1 ms, and another thread costs more than that.
_FEW_CHARACTERS = 200


class Role(Enum):
    """What a text is; its value is the name of the prompt that some models want before it."""

    NONE = ""
    QUERY = "query"
    DOCUMENT = "document"


class TextReader:
    """Reads texts for one model."""

    def __init__(
        self,
        tokeniser: Tokeniser,
        threads: Executor,
        max_texts: int,
        prompts: Mapping[Role, str] | None = None,
    ) -> None:
        """Make a reader; `prompts` go before the texts of a role, a call may have `max_texts`."""
        self._tokeniser = tokeniser
        self._threads = threads
        self._max_texts = max_texts
        self._prompts = prompts or {}

    @property
    def max_tokens(self) -> int:
        """Tokens that are read of a text, special ones included."""
        return self._tokeniser.max_tokens

    def check_count(self, texts: Sequence[str]) -> None:
        """Raise InvalidRequestError on no text or too many."""
        if not texts:
            raise InvalidRequestError("the request has no text; send at least one")
        if len(texts) > self._max_texts:
            raise InvalidRequestError(
                f"the request has {len(texts):,} texts, {self._max_texts:,} are accepted; send several requests"
            )

    async def read(self, texts: Sequence[str], characters: int, role: Role, long_text: LongText) -> TokenisedTexts:
        """Tokenise in another thread, or here and now when that costs less than to hand the texts over.

        characters: of all texts together. Raises InvalidRequestError as `Tokeniser.tokenise`.
        """
        prompt = self._prompts.get(role, "")
        if characters <= _FEW_CHARACTERS:
            return self._tokeniser.tokenise(texts, prompt, long_text)
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._tokeniser.tokenise, texts, prompt, long_text
        )


def prompts_of(directory: ModelDirectory) -> dict[Role, str]:
    """The prompts that a model has."""
    return {role: prompt for role in Role if (prompt := directory.prompt(role.value))}
