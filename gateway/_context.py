"""The context of a call, as grpc.aio's servicers and interceptors know it.

https://grpc.github.io/grpc/python/grpc_asyncio.html#grpc.aio.ServicerContext
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Never

import grpc
import grpc.aio

from gateway._lifetime import GONE, Lifetime
from gateway._metadata import checked_metadata
from gateway._protocol import End
from gateway._status import BY_NUMBER, Status
from gateway._types import Address, Metadata, Scope

_log = logging.getLogger(__name__)


class ServicerContext(grpc.aio.ServicerContext[Any, Any]):
    """What a servicer sees of its call."""

    # Defaults stand with the class: most calls set none of them.
    _code: grpc.StatusCode | None = None
    _details = ""
    _initial: Metadata = ()
    _trailing: Metadata = ()
    _initial_sent = False
    _done = False
    _callbacks: tuple[Callable[[Any], None], ...] = ()
    # What the gateway itself reads and sets.
    aborted: grpc.aio.AbortError | None = None
    http_status: int | None = None
    compression = grpc.Compression.NoCompression
    compress_next = True
    requests: AsyncIterator[Any] | None = None
    write_message: Callable[[Any], Awaitable[None]] | None = None
    start_reply: Callable[[], Awaitable[None]] | None = None

    def __init__(self, protocol: str, metadata: Metadata, scope: Scope, lifetime: Lifetime) -> None:
        self._protocol = protocol
        self._invocation_metadata = metadata
        self._scope = scope
        self._lifetime = lifetime

    @property
    def protocol(self) -> str:
        """How the call is spoken: `grpc`, `grpc-web`, `grpc-web-text`, `connect` or `json`."""
        return self._protocol

    # The request.

    def invocation_metadata(self) -> Metadata:  # type: ignore[override]
        """Give the metadata of the request, its Host as `:authority` among them."""
        return self._invocation_metadata

    def time_remaining(self) -> float | None:  # type: ignore[override]
        """Give the seconds until the deadline, never negative; None without one."""
        return self._lifetime.remaining()

    def peer(self) -> str:
        """Name the caller's address as grpc does: `ipv4:127.0.0.1:1234`, `ipv6:[::1]:1234`, `unix:`."""
        return peer_named(self._scope.get("client"))

    def peer_identities(self) -> Iterable[bytes] | None:
        """Give None: the gateway does not authenticate connections."""
        return None

    def peer_identity_key(self) -> str | None:
        """Give None, as `peer_identities`."""
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Say whether the connection is encrypted, in grpc's words."""
        return {"transport_security_type": [b"ssl" if self._scope.get("scheme") == "https" else b"insecure"]}

    async def read(self) -> Any:  # noqa: ANN401 - any message
        """Give the next message of a streaming request, `grpc.aio.EOF` after the last."""
        if self.requests is None:
            raise grpc.aio.UsageError("the request of this method is not a stream")
        return await anext(self.requests, grpc.aio.EOF)

    # The reply.

    async def write(self, message: Any) -> None:  # noqa: ANN401 - any message
        """Send one message of a streaming reply."""
        if self.write_message is None:
            raise grpc.aio.UsageError("the response of this method is not a stream")
        await self.write_message(message)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:  # noqa: ANN401 - pairs, or grpc.aio.Metadata
        """Set the reply's initial metadata; a streaming reply begins with it at once.

        Raises:
            grpc.aio.UsageError: it is too late, or the second time.
            ValueError: HTTP cannot carry it.
        """
        if self._initial_sent:
            raise grpc.aio.UsageError("the initial metadata has been sent")
        self._initial = checked_metadata(initial_metadata)
        self._initial_sent = True
        if self.start_reply is not None:
            await self.start_reply()

    def initial_metadata(self) -> Metadata:
        """Give what `send_initial_metadata` was given; from here on it is sent."""
        self._initial_sent = True
        return self._initial

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:  # noqa: ANN401 - pairs, or grpc.aio.Metadata
        """Set the metadata that follows the reply.

        Raises:
            ValueError: HTTP cannot carry it.
        """
        self._trailing = checked_metadata(trailing_metadata)

    def trailing_metadata(self) -> Metadata:  # type: ignore[override]
        """Give what `set_trailing_metadata` or `abort` was given."""
        return self._trailing

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> Never:  # noqa: ANN401
        """End the call with a status; details and metadata that are left out stay as they were set.

        Raises:
            grpc.aio.AbortError: always, to leave the servicer.
        """
        if self.aborted is not None:
            raise grpc.aio.UsageError("Abort already called!")
        if _as_code(code) is grpc.StatusCode.OK:
            raise ValueError("a call is not aborted with OK")
        if trailing_metadata:
            self._trailing = checked_metadata(trailing_metadata)
        self._code = _as_code(code)
        self._details = details or self._details
        self.aborted = grpc.aio.AbortError("Locally aborted.")
        raise self.aborted

    async def abort_with_status(self, status: grpc.Status) -> Never:
        """End the call with a whole status, as grpc_status.rpc_status.to_status gives it.

        Raises:
            grpc.aio.AbortError: always, to leave the servicer.
        """
        if isinstance(status, Status):
            self.http_status = status.http_status
        await self.abort(status.code, status.details or "", status.trailing_metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status code that the call ends with."""
        self._code = _as_code(code)

    def code(self) -> grpc.StatusCode | None:  # type: ignore[override]
        """Give the status code as set so far; None, as in grpc.aio, where nothing set it."""
        return self._code

    def set_details(self, details: str) -> None:
        """Set the status message that the call ends with."""
        self._details = details

    def details(self) -> str:
        """Give the status message as set so far."""
        return self._details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Compress the reply where the caller takes it; any algorithm becomes gzip.

        Raises:
            RuntimeError: it is too late, the initial metadata has been sent and with it what the reply is packed as.
        """
        if self._initial_sent:
            raise RuntimeError("compression is set before the initial metadata is sent")
        self.compression = compression

    def disable_next_message_compression(self) -> None:
        """Send the next message as it is."""
        self.compress_next = False

    # The call's life.

    def cancelled(self) -> bool:
        """Say whether the caller went away, or the deadline passed."""
        return self._lifetime.reason is not None

    def done(self) -> bool:
        """Say whether the call has ended."""
        return self._done

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back with this context when the call has ended."""
        self._callbacks += (callback,)

    def settle(self, code: grpc.StatusCode, details: str, http_status: int | None) -> None:
        """Set the end that the gateway decided on, over what the servicer set."""
        self._code, self._details, self.http_status = code, details, http_status

    def end(self) -> End:
        """Give the end of the call as it goes out; from here on its initial metadata are sent."""
        self._initial_sent = True
        return End(self._code or grpc.StatusCode.OK, self._details, self._initial, self._trailing, self.http_status)

    def finish(self) -> None:
        """Mark the call as ended and tell whoever asked to be told."""
        self._done = True
        for callback in self._callbacks:
            try:
                callback(self)
            except Exception as error:  # noqa: BLE001 - one callback must not keep the others from running
                _log.error("a done callback failed", exc_info=error)

    def caller_gone(self) -> bool:
        """Say whether there is nobody left to answer."""
        return self._lifetime.reason is GONE


def peer_named(client: Address | None) -> str:
    """Name the caller's address as grpc does."""
    if not client:
        return "unix:"
    host, port = client[0], client[1]
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


def _as_code(code: object) -> grpc.StatusCode:
    if isinstance(code, grpc.StatusCode):
        return code
    number = code[0] if isinstance(code, tuple) else code
    if isinstance(number, int) and number in BY_NUMBER:
        return BY_NUMBER[number]
    raise ValueError(f"{code!r} is no status code")
