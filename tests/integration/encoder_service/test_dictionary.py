"""kosearch.v1.Dictionary as clients meet it, whatever stands before it; without a Qdrant behind it."""

from typing import Any

import grpc
import pytest

from protos.kosearch.v1 import dictionary_pb2, dictionary_pb2_grpc

KEY = "secret of few"
ADMIN = (("admin-key", KEY),)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), refused.value.details() or ""


@pytest.mark.parametrize("front_ends", [0, 2])
async def test_a_new_service_has_no_words(serve: Any, front_ends: int) -> None:
    """Also behind front-ends, which pass the calls on."""
    async with serve(admin_key=KEY, front_ends=front_ends) as channel:
        dictionary = dictionary_pb2_grpc.DictionaryStub(channel)
        listed = await dictionary.ListWords(dictionary_pb2.ListWordsRequest(), timeout=30, metadata=ADMIN)
        reanalyses = await dictionary.ListReanalyses(dictionary_pb2.ListReanalysesRequest(), timeout=30, metadata=ADMIN)
        without_key = await refusal(dictionary.ListWords(dictionary_pb2.ListWordsRequest(), timeout=30))
    assert (list(listed.words), listed.version, list(reanalyses.reanalyses)) == ([], 0, [])
    assert without_key[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_without_an_admin_key_of_its_own_nobody_changes_words(serve: Any) -> None:
    async with serve() as channel:
        dictionary = dictionary_pb2_grpc.DictionaryStub(channel)
        request = dictionary_pb2.PutWordsRequest(words=[dictionary_pb2.UserWord(form="뤼튼")])
        code, details = await refusal(dictionary.PutWords(request, timeout=30, metadata=ADMIN))
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert "nobody may change the models or the dictionary" in details


async def test_nothing_is_changed_while_qdrant_is_away(serve: Any) -> None:
    """Nobody knows which collections would have to follow."""
    async with serve(admin_key=KEY) as channel:
        dictionary = dictionary_pb2_grpc.DictionaryStub(channel)
        request = dictionary_pb2.PutWordsRequest(words=[dictionary_pb2.UserWord(form="뤼튼")])
        code, details = await refusal(dictionary.PutWords(request, timeout=30, metadata=ADMIN))
        listed = await dictionary.ListWords(dictionary_pb2.ListWordsRequest(), timeout=30, metadata=ADMIN)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "Qdrant" in details
    assert (list(listed.words), listed.version) == ([], 0)
