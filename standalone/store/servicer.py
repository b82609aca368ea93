"""The RPCs: one method each, from the request's message to the answer's. The rest of Qdrant's API is refused."""

import time
from importlib.metadata import version
from typing import Any, TypeAlias

import grpc
import qdrant_edge as edge
from qdrant_client import grpc as pb

from standalone.store.collection import Collection
from standalone.store.collection_directory import CollectionDirectory
from standalone.store.errors import InvalidArgumentError
from standalone.store.translation import facets, points, schemas
from standalone.store.translation.filters import filter_from_pb
from standalone.store.translation.support import ALWAYS_TRUE, require_supported
from standalone.store.translation.values import payload_from_pb, point_id_to_pb

_UPSERT = ALWAYS_TRUE | {"collection_name", "wait", "points"}
_GET = ALWAYS_TRUE | {"collection_name", "ids", "with_payload", "with_vectors"}
_COUNT = ALWAYS_TRUE | {"collection_name", "filter", "exact"}
_SET_PAYLOAD = ALWAYS_TRUE | {"collection_name", "wait", "payload", "points_selector", "key"}
_QUERY_BATCH = ALWAYS_TRUE | {"collection_name", "query_points"}
_UPDATE_VECTORS = ALWAYS_TRUE | {"collection_name", "wait", "points"}
_DELETE_VECTORS = ALWAYS_TRUE | {"collection_name", "wait", "points_selector", "vectors"}
_DELETE_INDEX = ALWAYS_TRUE | {"collection_name", "wait", "field_name"}
_UPDATE_COLLECTION = ALWAYS_TRUE | {"collection_name", "metadata", "optimizers_config"}
# Deletes free space in the end, so they may go on a little longer on a full disk.
_ROOM_FOR_DELETES = 0.25

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class QdrantServicer(pb.QdrantServicer):
    """Says who answers."""

    async def HealthCheck(self, _request: pb.HealthCheckRequest, _context: Context) -> pb.HealthCheckReply:  # noqa: N802
        """Return the version of Qdrant's API that is spoken, which is the client's of this installation."""
        return pb.HealthCheckReply(
            title=f"kosearch store on Qdrant Edge {version('qdrant-edge-py')}", version=version("qdrant-client")
        )


class CollectionsServicer(pb.CollectionsServicer):
    """Collections and aliases."""

    def __init__(self, collections: CollectionDirectory) -> None:
        self._collections = collections

    async def Get(self, request: pb.GetCollectionInfoRequest, _context: Context) -> pb.GetCollectionInfoResponse:  # noqa: N802
        started = time.perf_counter()
        collection = self._collections.get(request.collection_name)
        info = schemas.collection_info_to_pb(collection.message, collection.shard.info(), collection.index_status())
        return pb.GetCollectionInfoResponse(result=info, time=time.perf_counter() - started)

    async def List(self, _request: pb.ListCollectionsRequest, _context: Context) -> pb.ListCollectionsResponse:  # noqa: N802
        descriptions = [pb.CollectionDescription(name=name) for name in sorted(self._collections.names)]
        return pb.ListCollectionsResponse(collections=descriptions)

    async def CollectionExists(  # noqa: N802
        self, request: pb.CollectionExistsRequest, _context: Context
    ) -> pb.CollectionExistsResponse:
        exists = self._collections.exists(request.collection_name)
        return pb.CollectionExistsResponse(result=pb.CollectionExists(exists=exists))

    async def Create(self, request: pb.CreateCollection, _context: Context) -> pb.CollectionOperationResponse:  # noqa: N802
        started = time.perf_counter()
        self._collections.create(request)
        return pb.CollectionOperationResponse(result=True, time=time.perf_counter() - started)

    async def Update(self, request: pb.UpdateCollection, _context: Context) -> pb.CollectionOperationResponse:  # noqa: N802
        require_supported(request, _UPDATE_COLLECTION)
        self._collections.get(request.collection_name).change(request)
        return pb.CollectionOperationResponse(result=True)

    async def Delete(self, request: pb.DeleteCollection, _context: Context) -> pb.CollectionOperationResponse:  # noqa: N802
        started = time.perf_counter()
        deleted = self._collections.delete(request.collection_name)
        return pb.CollectionOperationResponse(result=deleted, time=time.perf_counter() - started)

    async def UpdateAliases(self, request: pb.ChangeAliases, _context: Context) -> pb.CollectionOperationResponse:  # noqa: N802
        self._collections.change_aliases(request.actions)
        return pb.CollectionOperationResponse(result=True)

    async def ListAliases(self, _request: pb.ListAliasesRequest, _context: Context) -> pb.ListAliasesResponse:  # noqa: N802
        return _aliases_response(self._collections.aliases)

    async def ListCollectionAliases(  # noqa: N802
        self, request: pb.ListCollectionAliasesRequest, _context: Context
    ) -> pb.ListAliasesResponse:
        wanted = request.collection_name
        return _aliases_response({alias: name for alias, name in self._collections.aliases.items() if name == wanted})


class PointsServicer(pb.PointsServicer):
    """Points, payload indexes and queries."""

    def __init__(self, collections: CollectionDirectory) -> None:
        self._collections = collections

    async def Upsert(self, request: pb.UpsertPoints, _context: Context) -> pb.PointsOperationResponse:  # noqa: N802
        require_supported(request, _UPSERT)
        collection = self._collections.get(request.collection_name)
        upserted = points.points_from_pb(request.points, collection.space)
        self._collections.require_room()
        ids = [point.id for point in upserted]
        number = collection.update(edge.UpdateOperation.upsert_points(upserted), ids, len(ids))
        return await _answer(collection, number, request.wait)

    async def Delete(self, request: pb.DeletePoints, _context: Context) -> pb.PointsOperationResponse:  # noqa: N802
        require_supported(request, ALWAYS_TRUE | {"collection_name", "wait", "points"})
        collection = self._collections.get(request.collection_name)
        selected = collection.resolve(points.selector_from_pb(request.points))
        self._collections.require_room(_ROOM_FOR_DELETES)
        if isinstance(selected, list):
            number = collection.update(edge.UpdateOperation.delete_points(selected), selected)
        else:
            number = collection.update(edge.UpdateOperation.delete_points_by_filter(selected))
        return await _answer(collection, number, request.wait)

    async def UpdateVectors(self, request: pb.UpdatePointVectors, _context: Context) -> pb.PointsOperationResponse:  # noqa: N802
        require_supported(request, _UPDATE_VECTORS)
        collection = self._collections.get(request.collection_name)
        updated = points.point_vectors_from_pb(request.points, collection.space)
        self._collections.require_room()
        ids = [point.id for point in updated]
        number = collection.update(edge.UpdateOperation.update_vectors(updated), ids, len(ids))
        return await _answer(collection, number, request.wait)

    async def DeleteVectors(self, request: pb.DeletePointVectors, _context: Context) -> pb.PointsOperationResponse:  # noqa: N802
        require_supported(request, _DELETE_VECTORS)
        collection = self._collections.get(request.collection_name)
        names = points.vector_names_from_pb(request, collection.space)
        selected = collection.resolve(points.selector_from_pb(request.points_selector))
        self._collections.require_room()
        if isinstance(selected, list):
            if not selected:
                raise InvalidArgumentError("Bad request: Empty update request")
            operation = edge.UpdateOperation.delete_vectors(selected, names)
            number = collection.update(operation, selected, len(selected))
        else:
            number = collection.update(edge.UpdateOperation.delete_vectors_by_filter(selected, names))
        return await _answer(collection, number, request.wait)

    async def SetPayload(self, request: pb.SetPayloadPoints, _context: Context) -> pb.PointsOperationResponse:  # noqa: N802
        operations = edge.UpdateOperation.set_payload, edge.UpdateOperation.set_payload_by_filter
        return await self._change_payload(request, *operations)

    async def OverwritePayload(self, request: pb.SetPayloadPoints, _context: Context) -> pb.PointsOperationResponse:  # noqa: N802
        operations = edge.UpdateOperation.overwrite_payload, edge.UpdateOperation.overwrite_payload_by_filter
        return await self._change_payload(request, *operations)

    async def CreateFieldIndex(  # noqa: N802
        self, request: pb.CreateFieldIndexCollection, _context: Context
    ) -> pb.PointsOperationResponse:
        collection = self._collections.get(request.collection_name)
        schema = schemas.index_from_pb(request)
        self._collections.require_room()
        number = collection.update_schema(edge.UpdateOperation.create_field_index(request.field_name, schema))
        return await _answer(collection, number, request.wait)

    async def DeleteFieldIndex(  # noqa: N802
        self, request: pb.DeleteFieldIndexCollection, _context: Context
    ) -> pb.PointsOperationResponse:
        require_supported(request, _DELETE_INDEX)
        collection = self._collections.get(request.collection_name)
        number = collection.update_schema(edge.UpdateOperation.delete_field_index(request.field_name))
        return await _answer(collection, number, request.wait)

    async def Get(self, request: pb.GetPoints, _context: Context) -> pb.GetResponse:  # noqa: N802
        started = time.perf_counter()
        require_supported(request, _GET)
        collection = self._collections.get(request.collection_name)
        records = collection.shard.retrieve(
            points.point_ids_from_pb(request.ids),
            points.with_payload_from_pb(request.with_payload, default=True),
            points.with_vectors_from_pb(request.with_vectors, collection.space),
        )
        found = [points.record_to_pb(record) for record in records]
        return pb.GetResponse(result=found, time=time.perf_counter() - started)

    async def Count(self, request: pb.CountPoints, _context: Context) -> pb.CountResponse:  # noqa: N802
        started = time.perf_counter()
        require_supported(request, _COUNT)
        collection = self._collections.get(request.collection_name)
        chosen = filter_from_pb(request.filter) if request.HasField("filter") else None
        exact = request.exact or not request.HasField("exact")
        count = collection.shard.count(edge.CountRequest(exact=exact, filter=chosen))
        return pb.CountResponse(result=pb.CountResult(count=count), time=time.perf_counter() - started)

    async def Facet(self, request: pb.FacetCounts, _context: Context) -> pb.FacetResponse:  # noqa: N802
        started = time.perf_counter()
        collection = self._collections.get(request.collection_name)
        hits = collection.shard.facet(facets.facet_from_pb(request)).hits
        return pb.FacetResponse(hits=[facets.facet_hit_to_pb(hit) for hit in hits], time=time.perf_counter() - started)

    async def Scroll(self, request: pb.ScrollPoints, _context: Context) -> pb.ScrollResponse:  # noqa: N802
        started = time.perf_counter()
        collection = self._collections.get(request.collection_name)
        records, following = collection.shard.scroll(points.scroll_from_pb(request, collection.space))
        return pb.ScrollResponse(
            result=[points.record_to_pb(record) for record in records],
            next_page_offset=None if following is None else point_id_to_pb(following),
            time=time.perf_counter() - started,
        )

    async def Query(self, request: pb.QueryPoints, _context: Context) -> pb.QueryResponse:  # noqa: N802
        started = time.perf_counter()
        hits = self._search(self._collections.get(request.collection_name), request)
        return pb.QueryResponse(result=hits, time=time.perf_counter() - started)

    async def QueryBatch(self, request: pb.QueryBatchPoints, _context: Context) -> pb.QueryBatchResponse:  # noqa: N802
        started = time.perf_counter()
        require_supported(request, _QUERY_BATCH)
        collection = self._collections.get(request.collection_name)
        results = [pb.BatchResult(result=self._search(collection, query)) for query in request.query_points]
        return pb.QueryBatchResponse(result=results, time=time.perf_counter() - started)

    def _search(self, collection: Collection, request: pb.QueryPoints) -> list[pb.ScoredPoint]:
        hits = collection.shard.query(points.query_from_pb(request, collection.space))
        return [points.scored_point_to_pb(hit) for hit in hits]

    async def _change_payload(
        self, request: pb.SetPayloadPoints, by_ids: Any, by_filter: Any
    ) -> pb.PointsOperationResponse:
        require_supported(request, _SET_PAYLOAD)
        collection = self._collections.get(request.collection_name)
        selected = collection.resolve(points.selector_from_pb(request.points_selector))
        payload, key = payload_from_pb(request.payload), request.key or None
        self._collections.require_room()
        operation = by_ids if isinstance(selected, list) else by_filter
        try:
            update = operation(selected, payload, key)
        except ValueError as error:
            raise InvalidArgumentError(f"Wrong input: {error}") from error
        ids = selected if isinstance(selected, list) else []
        return await _answer(collection, collection.update(update, ids, len(ids)), request.wait)


async def _answer(collection: Collection, number: int, wait: bool) -> pb.PointsOperationResponse:
    """Answer to the update of this number and, with `wait`, return only when it survives a power cut."""
    started = time.perf_counter()
    if wait:
        await collection.make_durable(number)
    status = pb.UpdateStatus.Completed if wait else pb.UpdateStatus.Acknowledged
    return pb.PointsOperationResponse(
        result=pb.UpdateResult(operation_id=number, status=status), time=time.perf_counter() - started
    )


def _aliases_response(aliases: dict[str, str]) -> pb.ListAliasesResponse:
    described = [pb.AliasDescription(alias_name=alias, collection_name=name) for alias, name in sorted(aliases.items())]
    return pb.ListAliasesResponse(aliases=described)
