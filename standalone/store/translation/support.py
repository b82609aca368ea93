"""What a request may hold: a field that would be dropped without a word is refused instead."""

from collections.abc import Set as AbstractSet
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from standalone.store.errors import UnsupportedError

# True of one process with one copy of the data whatever they say: every write is ordered, every read consistent, and
# the caller's own deadline bounds the work.
ALWAYS_TRUE = frozenset({"ordering", "read_consistency", "timeout"})
_SWITCHES = (FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_ENUM)


def require_supported(message: Message, supported: AbstractSet[str]) -> None:
    """Check the fields set in `message`, not those inside its fields. Raises UnsupportedError naming the first other.

    A switch set to off, or an enum to its first value, asks for nothing. A field of a newer API than ours is refused
    too: an older Qdrant server drops it and does something else.
    """
    kind = message.DESCRIPTOR.name
    for descriptor, value in message.ListFields():
        is_off = descriptor.type in _SWITCHES and value == 0
        if descriptor.name not in supported and not is_off:
            raise UnsupportedError(f"`{descriptor.name}` in {kind}")
    unknown_fields: Any = UnknownFieldSet(message)  # the stub does not say that it is a sequence
    for unknown in unknown_fields:
        raise UnsupportedError(f"field number {unknown.field_number} in {kind}, which is newer than this store")
