"""The store process: Qdrant Edge shards behind the part of Qdrant's own gRPC API that kosearch uses.

`__main__` (options, exit codes) -> `server` (life of the process) -> `interceptor` (key, errors) -> `servicer` (one
method an RPC) -> `collection_directory` (shards and aliases on disk); `translation` turns protobuf into Edge's types
and back.
"""
