"""JSON values and point ids."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from qdrant_client import grpc as pb

from standalone.store.errors import InvalidArgumentError

# As Edge's stubs have it; ours are never strings.
PointId = int | UUID | str

_SCALAR_KINDS = {bool: "bool_value", int: "integer_value", float: "double_value", str: "string_value"}


def payload_from_pb(payload: Mapping[str, pb.Value]) -> dict[str, Any]:
    """Return a payload as JSON types."""
    return {key: _value_from_pb(value) for key, value in payload.items()}


def payload_to_pb(payload: Mapping[str, Any]) -> dict[str, pb.Value]:
    """Return a payload of JSON types as protobuf values."""
    return {key: _value_to_pb(value) for key, value in payload.items()}


def point_id_from_pb(point_id: pb.PointId) -> PointId:
    """Return the id. Raises InvalidArgumentError when it is empty or no UUID."""
    match point_id.WhichOneof("point_id_options"):
        case "num":
            return point_id.num
        case "uuid":
            try:
                return UUID(point_id.uuid)
            except ValueError as error:
                raise InvalidArgumentError(f"Unable to parse UUID: {point_id.uuid}") from error
        case _:
            raise InvalidArgumentError("Empty ID is not allowed")


def point_id_to_pb(point_id: PointId) -> pb.PointId:
    """Return the id as protobuf."""
    return pb.PointId(num=point_id) if isinstance(point_id, int) else pb.PointId(uuid=str(point_id))


def _value_from_pb(value: pb.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return payload_from_pb(value.struct_value.fields)
    if kind == "list_value":
        return [_value_from_pb(item) for item in value.list_value.values]
    if kind is None or kind == "null_value":
        return None
    return getattr(value, kind)


def _value_to_pb(value: Any) -> pb.Value:
    if value is None:
        return pb.Value(null_value=pb.NULL_VALUE)
    if isinstance(value, dict):
        return pb.Value(struct_value=pb.Struct(fields=payload_to_pb(value)))
    if isinstance(value, list):
        return pb.Value(list_value=pb.ListValue(values=[_value_to_pb(item) for item in value]))
    return pb.Value(**{_SCALAR_KINDS[type(value)]: value})
