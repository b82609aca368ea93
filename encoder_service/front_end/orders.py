"""What a front-end is told when it is started."""

from pydantic import BaseModel

READY = b"ready\n"


class Orders(BaseModel):
    """One line of JSON on standard input, so that keys show up in no list of processes. At its end it stops.

    address: where it listens, beside the other front-ends
    engine: gRPC target of the process with the engine
    """

    address: str
    engine: str
    api_key: str | None
    admin_key: str | None
    max_texts: int
    max_text_bytes: int
    log_level: str
    log_format: str
