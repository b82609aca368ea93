"""How the service's gRPC servers and channels are set."""

_MAX_MESSAGE_BYTES = 64 << 20
_SIZES = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
)

SERVER_OPTIONS = (
    *_SIZES,
    # A client that is gone without a word is noticed within 80 s; clients may ask every 10 s whether we live.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
# Two services on one port would share the calls between them without a word; the front-ends of one service shall.
ALONE_ON_PORT = (("grpc.so_reuseport", 0),)
TOGETHER_ON_PORT = (("grpc.so_reuseport", 1),)

# To the process with the engine. Its socket is there before the front-ends are.
ENGINE_CHANNEL_OPTIONS = (
    *_SIZES,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
