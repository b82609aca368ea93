"""Other names of collections."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from qdrant_client import grpc as pb

from standalone.store.errors import ExistsError, InvalidArgumentError, MissingError, unknown_collection
from standalone.store.translation.schemas import check_name


def apply_actions(
    aliases: Mapping[str, str], actions: Iterable[pb.AliasOperations], collections: AbstractSet[str]
) -> dict[str, str]:
    """Return the aliases (alias -> collection) after the actions, in order. All or none: the server stops half-way.

    Raises MissingError on an unknown collection or alias to rename, ExistsError when the alias is a collection's name.
    """
    after = dict(aliases)
    for action in actions:
        match action.WhichOneof("action"):
            case "create_alias":
                _create(after, action.create_alias, collections)
            case "rename_alias":
                _rename(after, action.rename_alias, collections)
            case "delete_alias":
                after.pop(action.delete_alias.alias_name, None)
            case _:
                raise InvalidArgumentError("Wrong input: an alias operation is empty")
    return after


def _create(aliases: dict[str, str], action: pb.CreateAlias, collections: AbstractSet[str]) -> None:
    if action.collection_name not in collections:
        raise unknown_collection(action.collection_name)
    _require_free(action.alias_name, collections)
    aliases[action.alias_name] = action.collection_name


def _rename(aliases: dict[str, str], action: pb.RenameAlias, collections: AbstractSet[str]) -> None:
    if action.old_alias_name not in aliases:
        raise MissingError(f"Not found: Alias {action.old_alias_name} does not exists!")
    _require_free(action.new_alias_name, collections)
    aliases[action.new_alias_name] = aliases.pop(action.old_alias_name)


def _require_free(alias: str, collections: AbstractSet[str]) -> None:
    check_name(alias)
    if alias in collections:
        raise ExistsError(f"Wrong input: Collection `{alias}` already exists!")
