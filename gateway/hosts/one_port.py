"""HTTP/2 beside HTTP/1.1 on one listener: the first bytes of a connection decide who gets it.

A connection that opens with the preface of HTTP/2 (RFC 9113, 3.4), or that agreed on `h2` by ALPN, becomes a pipe to a
grpc server that listens on a unix socket of the same process; any other is handed, with what was read of it, to the
protocol for HTTP/1.1, and costs nothing more from there on. grpcio takes no accepted socket over (what grpc core has
for it, `grpc_server_add_channel_from_fd`, is not among the symbols of its wheels), hence the pipe.

The pipe's end is bound to a name that holds the address of the TCP peer. grpc core takes that name for the address of
its caller, and `caller_behind` reads the address back.
"""

import asyncio
import errno
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# What may wait in each direction of a pipe before its source is no longer read, beside the one read under way.
_BUFFERED_BYTES: Final = 64 * 1024
# For the grpc server to take a connection up; its queue is full only in a storm of them.
_CONNECT_TIMEOUT: Final = 10.0
_CONNECT_AGAIN: Final = 0.01
# For a peer to take what is left for it once its connection is at an end.
_LINGER: Final = 5.0

_ABSTRACT: Final = "unix-abstract:"
_PATH: Final = "unix:"
# Between an address and what makes the name unique.
_MARK: Final = "~"


class FirstBytes(asyncio.Protocol):
    """Reads the start of one connection, and hands the connection on.

    Args:
        http1: makes the protocol of a connection that does not speak HTTP/2.
        http2: takes the others.
        waiting: where the connection registers itself while it is undecided.
        timeout: seconds for it to be decided.
    """

    __slots__ = ("_http1", "_http2", "_received", "_timeout", "_timer", "_transport", "_waiting")

    def __init__(
        self,
        http1: Callable[[], asyncio.Protocol],
        http2: "HTTP2Pipes",
        waiting: "set[FirstBytes]",
        timeout: float,
    ) -> None:
        self._http1 = http1
        self._http2 = http2
        self._waiting = waiting
        self._timeout = timeout
        self._received = b""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand on what ALPN has decided; begin to wait otherwise."""
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        agreed = None if tls is None else tls.selected_alpn_protocol()
        if agreed is not None:
            self._hand_on(http2=agreed == "h2")
            return
        self._waiting.add(self)
        self._timer = asyncio.get_running_loop().call_later(self._timeout, transport.close)

    def data_received(self, data: bytes) -> None:
        """Decide as soon as the bytes are the preface, or differ from it."""
        self._received += data
        if self._received.startswith(PREFACE):
            self._hand_on(http2=True)
        elif not PREFACE.startswith(self._received):
            self._hand_on(http2=False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection."""
        self._decided()

    def close(self) -> None:
        """Close a connection that has not said anything yet."""
        self._transport.close()

    def _hand_on(self, *, http2: bool) -> None:
        self._decided()
        if http2:
            self._http2.take(self._transport, self._received)
            return
        protocol = self._http1()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._received:
            protocol.data_received(self._received)

    def _decided(self) -> None:
        self._waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HTTP2Pipes:
    """Carries connections to the grpc server that listens on a unix socket.

    Args:
        path: of the socket. Only this process may be able to reach it: who connects there can name any address as its
            own, and has not been asked for a client certificate.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: set[_End] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    def take(self, transport: asyncio.Transport, received: bytes) -> None:
        """Carry a connection from now on, `received` first."""
        transport.pause_reading()
        end = _End(self._open, received, is_caller=True)
        transport.set_protocol(end)
        end.connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._connect(end))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def stop(self, grace: float) -> None:
        """Give what the grpc server has answered `grace` seconds to reach its callers; then cut every connection.

        To be called when that server has stopped, which closes its ends.
        """
        ends = asyncio.get_running_loop().time() + grace
        while (self._open or self._connecting) and asyncio.get_running_loop().time() < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for task in list(self._connecting):
            task.cancel()
        for end in list(self._open):
            end.abort()
        await asyncio.sleep(0)

    async def _connect(self, client: "_End") -> None:
        server = _End(self._open, is_caller=False)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                sock = await self._connected(client)
                try:
                    await asyncio.get_running_loop().create_unix_connection(lambda: server, sock=sock)
                except BaseException:
                    sock.close()
                    raise
        except (OSError, TimeoutError):
            client.abort()
            return
        client.join(server)

    async def _connected(self, client: "_End") -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)  # noqa: FBT003 - the library takes it by position
            name = f"{_address(client)}{_MARK}{secrets.token_hex(8)}"
            path = None if sys.platform == "linux" else self._path.with_name(name)
            sock.bind("\0" + name if path is None else str(path))
            try:
                # A unix socket has no event for room in the queue of the one it connects to.
                while (error := sock.connect_ex(str(self._path))) == errno.EAGAIN:  # noqa: ASYNC110
                    await asyncio.sleep(_CONNECT_AGAIN)
            finally:
                if path is not None:
                    # The name stays the socket's, as long as that is open.
                    path.unlink()
        except BaseException:
            sock.close()
            raise
        if error:
            sock.close()
            raise OSError(error, "the grpc server takes no connection")
        return sock


class _End(asyncio.Protocol):
    """One end of a pipe: what it receives, the other end sends.

    A source is paused while more than `_BUFFERED_BYTES` wait for the other end to take them.
    """

    __slots__ = ("_is_caller", "_open", "linger", "other", "pending", "transport")

    def __init__(self, registry: "set[_End]", pending: bytes = b"", *, is_caller: bool) -> None:
        self._open = registry
        self._is_caller = is_caller
        self.pending = pending
        self.other: _End | None = None
        self.linger: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport

    def join(self, other: "_End") -> None:
        """Pass on what was received so far, and whatever follows in both directions."""
        if other.transport.is_closing() or self.transport.is_closing():
            other.abort()
            self.abort()
            return
        self.other, other.other = other, self
        for source, sink in ((self, other), (other, self)):
            if source.pending:
                sink.transport.write(source.pending)
                source.pending = b""
        self.transport.resume_reading()

    def abort(self) -> None:
        """Cut this end, and so the other."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(_BUFFERED_BYTES)
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            # The grpc server speaks at once, and a transport may have read something before it was paused.
            self.pending += data
        else:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        # A caller who has said all may still wait for replies, though not over TLS; the grpc server closes both
        # directions at once.
        if not self._is_caller or self.other is None or self.transport.get_extra_info("ssl_object") is not None:
            return False
        if not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        if self.linger is not None:
            self.linger.cancel()
            self.linger = None
        other, self.other = self.other, None
        if other is None:
            return
        other.other = None
        if self._is_caller and exc is not None:
            # The caller has reset the connection, and waits for nothing.
            other.abort()
            return
        # What the grpc server said last, a GOAWAY with a reason, is still to reach the caller.
        other.transport.close()
        other.linger = asyncio.get_running_loop().call_later(_LINGER, other.transport.abort)


def caller_behind(peer: str) -> str:
    """Read the TCP peer's address out of what grpc core takes for the address of a caller behind a pipe.

    The result has the form that grpc core gives to addresses itself: `ipv4:127.0.0.1:1234`, `ipv6:%5B::1%5D:1234`.
    An address that no pipe has made comes back as it is.
    """
    if peer.startswith(_ABSTRACT):
        name = peer[len(_ABSTRACT) :]
    elif peer.startswith(_PATH):
        name = peer.rpartition("/")[2]
    else:
        return peer
    address, mark, _ = name.rpartition(_MARK)
    return address if mark else peer


def _address(client: _End) -> str:
    address = client.transport.get_extra_info("peername")
    if not address or isinstance(address, str):
        return "unix:"
    host, port = address[:2]
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
