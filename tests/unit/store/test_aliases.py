"""Alias actions, without a store."""

import pytest
from qdrant_client import grpc as pb

from standalone.store.aliases import apply_actions
from standalone.store.errors import ExistsError, InvalidArgumentError, MissingError

COLLECTIONS = {"c", "d"}


def create(alias: str, collection: str) -> pb.AliasOperations:
    return pb.AliasOperations(create_alias=pb.CreateAlias(alias_name=alias, collection_name=collection))


def delete(alias: str) -> pb.AliasOperations:
    return pb.AliasOperations(delete_alias=pb.DeleteAlias(alias_name=alias))


def rename(old: str, new: str) -> pb.AliasOperations:
    return pb.AliasOperations(rename_alias=pb.RenameAlias(old_alias_name=old, new_alias_name=new))


@pytest.mark.parametrize(
    ("before", "actions", "after"),
    [
        ({}, [create("a", "c")], {"a": "c"}),
        ({"a": "c"}, [create("a", "d")], {"a": "d"}),
        ({"a": "c"}, [delete("a"), create("a", "d")], {"a": "d"}),
        ({"a": "c"}, [rename("a", "b")], {"b": "c"}),
        ({"a": "c", "b": "d"}, [rename("a", "b")], {"b": "c"}),
        ({"a": "c"}, [delete("b")], {"a": "c"}),
        ({"a": "c"}, [], {"a": "c"}),
    ],
)
def test_actions_apply_in_order(
    before: dict[str, str], actions: list[pb.AliasOperations], after: dict[str, str]
) -> None:
    assert apply_actions(before, actions, COLLECTIONS) == after


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (create("a", "nowhere"), MissingError),
        (create("a", "b"), MissingError),
        (create("d", "c"), ExistsError),
        (create("", "c"), InvalidArgumentError),
        (rename("x", "y"), MissingError),
        (rename("b", "d"), ExistsError),
        (pb.AliasOperations(), InvalidArgumentError),
    ],
)
def test_refused_action_leaves_all_as_it_was(action: pb.AliasOperations, error: type[Exception]) -> None:
    aliases = {"b": "c"}
    with pytest.raises(error):
        apply_actions(aliases, [create("new", "c"), action], COLLECTIONS)
    assert aliases == {"b": "c"}
