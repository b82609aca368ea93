"""The one normalisation of text, for training, indexing and queries alike."""

import re
import unicodedata

# Zero-width characters, soft hyphen, byte-order mark: invisible, and they keep equal words apart.
_INVISIBLE = dict.fromkeys([0x00AD, 0x200B, 0x2060, 0xFEFF])
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_INVISIBLE_OR_CONTROL = re.compile(rf"[{''.join(map(chr, _INVISIBLE))}{_CONTROL.pattern[1:]}")


def clean(text: str) -> str:
    """Return the text as it is stored and shown: NFC, no control or invisible characters, line breaks kept.

    macOS writes file names and texts in NFD, where 한 is three code points that match nothing typed elsewhere.
    """
    if _INVISIBLE_OR_CONTROL.search(text) is None:  # nearly every text, and much faster
        return unicodedata.normalize("NFC", text).strip()
    # Invisible characters go first: what stood on both sides of one may belong together.
    return _CONTROL.sub(" ", unicodedata.normalize("NFC", text.translate(_INVISIBLE))).strip()


def normalise(text: str) -> str:
    """Return the text as the model reads it: cleaned, and every run of white space made one space."""
    return " ".join(clean(text).split())
