"""The errors of kosearch.

KosearchError
├── InvalidRequestError      the caller's input is wrong; asking again does not help
├── NotFoundError            a collection, job or file that does not exist
├── ConflictError            the state does not allow it: another model, another dimension, a second stack
├── OutdatedError            the caller acts on an earlier state; look again, then ask again
├── LeaseLostError           another worker has taken over the work; nothing is wrong
├── UnauthenticatedError     no API key, or a wrong one
├── OverloadedError          a queue is full; ask again after `retry_after_s`
├── UnavailableError         a neighbour (encoder, Qdrant, broker, ledger) does not answer; ask again later
├── ModelError               a model directory that cannot be used
└── SettingsError            a setting that is unknown or out of bounds

Every message says what is wrong and what to do next. Foreign exceptions are translated once, at the border where
they appear, with `raise ... from`.
"""


class KosearchError(Exception):
    """An error whose message is meant for the user."""


class InvalidRequestError(KosearchError):
    """The caller's input is wrong; asking again does not help."""


class NotFoundError(KosearchError):
    """Something named by the caller does not exist."""


class ConflictError(KosearchError):
    """The present state does not allow what was asked."""


class OutdatedError(KosearchError):
    """The caller acts on an earlier state."""


class LeaseLostError(KosearchError):
    """Another worker holds the lease now and finishes the work."""


class UnauthenticatedError(KosearchError):
    """The API key is missing or wrong."""


class OverloadedError(KosearchError):
    """A queue is full. `retry_after_s` is the advised pause in seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(KosearchError):
    """A neighbouring process does not answer."""


class ModelError(KosearchError):
    """A model directory cannot be used."""


class SettingsError(KosearchError):
    """A setting is unknown or out of bounds."""
