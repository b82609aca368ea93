"""Why a file has no text for us."""

import enum


class Reason(enum.StrEnum):
    """Stable words, as they stand in the ledger."""

    ENCRYPTED = "encrypted"
    DISTRIBUTION_ONLY = "distribution_only"
    DRM_PROTECTED = "drm_protected"
    DAMAGED = "damaged"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    NO_TEXT = "no_text"
    NOT_INSTALLED = "not_installed"


class ConversionError(Exception):
    """A file that stays out; the message says what is wrong and what to do."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
