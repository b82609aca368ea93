"""The store process: Qdrant Edge shards behind the part of Qdrant's own gRPC API that kosearch uses.

`__main__` (options, exit codes) -> `server` (life of the process) -> `interceptor` (key, errors) -> `servicer` (one
method an RPC) -> `collection_directory` (collections and aliases on disk) -> `collection` (a shard and its successor);
`translation` turns protobuf into Edge's types and back. Beside the calls, `index_builds` has shards with a vector index
built by `index_builder`, a process of its own, where `index_policy` finds it worth while.
"""
