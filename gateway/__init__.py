"""gRPC-Web, Connect and JSON for any grpc.aio servicers, and gRPC where the host offers trailers.

    from gateway import Gateway

    gateway = Gateway(interceptors=[...])
    add_SystemServiceServicer_to_server(SystemServicer(), gateway)

`Gateway` is an ASGI application; `gateway.hosts` runs one. What may be imported is listed in `__all__`; modules whose
names begin with an underscore are private. Three axes know nothing of each other: protocols (`_protocol*.py`: how a
call is framed), codecs (`_codec.py`: how a message is written) and routes (`_template.py`, `_router.py`, `_route.py`,
`_binding.py`: which request runs which RPC, and what of its message stands in path and query).
"""

from gateway._context import ServicerContext
from gateway._encoded_once import EncodedOnce
from gateway._gateway import DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_RECEIVE_TIMEOUT, Gateway
from gateway._recurring import Recurring
from gateway._repeats import Again, Repeatable
from gateway._route import BadRule
from gateway._router import Clash
from gateway._types import Metadata

__all__ = [
    "DEFAULT_MAX_MESSAGE_BYTES",
    "DEFAULT_RECEIVE_TIMEOUT",
    "Again",
    "BadRule",
    "Clash",
    "EncodedOnce",
    "Gateway",
    "Metadata",
    "Recurring",
    "Repeatable",
    "ServicerContext",
]
