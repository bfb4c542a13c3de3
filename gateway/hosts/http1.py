"""HTTP/1.1 on httptools: an ASGI application on a socket, inside the running event loop, with limits on its peers.

The parser is llhttp, as strict as it is by default. What is written around it here is one `asyncio.Protocol` per
connection, and in `http1_request` what the application sees of one request. Per call it makes one task and one write,
and starts no timer: an ASGI call costs 0.6 of what uvicorn takes for it (docs/decisions.md).

Header blocks are counted while they are received: past the limit the answer is 431 and the connection is closed, long
before the block is complete. What goes wrong before there is a request to give to the application is answered in the
JSON form of the gateway's errors.
"""

import asyncio
import math
import re
from collections import deque
from typing import Final, cast
from urllib.parse import unquote

import httptools

from gateway._types import Address, Headers, Scope
from gateway.hosts.answers import MALFORMED, TOO_LARGE, TOO_SLOW, Reason
from gateway.hosts.http1_known import KnownRequests
from gateway.hosts.http1_request import Request, refusal
from gateway.hosts.served import Alarm, Served, address

# What of a body may wait for the application before the peer is no longer read.
_MAX_UNREAD_BYTES: Final = 64 * 1024
# What of a body that nobody reads any more is taken and dropped, so that its sender gets to read the reply.
_MAX_DISCARDED_BYTES: Final = 64 * 1024 * 1024
# Chunks may be as small as a byte, in a line break and its length; what is beyond that is counted as headers are.
_FRAMING_PER_BYTE: Final = 16
# Timers end up to so many seconds early.
_EARLY: Final = 0.001

_VERSIONS: Final = frozenset({"1.0", "1.1"})
# What says how long the body of a request is.
_LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})
_END_OF_HEAD: Final = b"\r\n\r\n"
_AUTHORITY_ENDS: Final = re.compile(rb"[/?#]")


class _Refuse(Exception):
    """Leaves the parser, for a reason that the peer is told."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason[2])
        self.reason = reason


class HTTP1Connection(asyncio.Protocol):
    """One connection: what the parser finds in its bytes, the order of its replies, how much and how long it may take.

    When its alarm goes off it looks at `_deadline`.
    """

    __slots__ = (
        "_alarm",
        "_chunk_bytes",
        "_client",
        "_deadline",
        "_declined",
        "_discarded",
        "_framing",
        "_head_bytes",
        "_head_is_timed",
        "_headers",
        "_hosts",
        "_ignores",
        "_in_head",
        "_is_between",
        "_is_new",
        "_known",
        "_loop",
        "_newest",
        "_parser",
        "_read_paused",
        "_running",
        "_scheme",
        "_served",
        "_server",
        "_target",
        "_version",
        "_waiting",
        "_writable",
        "transport",
        "write_paused",
    )

    def __init__(self, served: Served, known: KnownRequests) -> None:
        self._served = served
        self._known = known
        self.transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._server: Address | None = None
        self._client: Address | None = None
        self._scheme = "http"
        # The request that is read: `_in_head` from the end of the one before it until its headers are complete.
        self._in_head = True
        self._target = b""
        self._headers: Headers = []
        self._hosts = 0
        self._version = ""
        # It offers another protocol, and the parser is still to be told that this is not taken up.
        self._declined = False
        # So many bytes of its head came in chunks before the last one, and the last one had so many.
        self._head_bytes = 0
        self._chunk_bytes = 0
        self._framing = 0
        self._discarded = 0
        # Nothing of what still comes is for anybody.
        self._ignores = False
        # The one that is answered, those after it, and the last one that has come.
        self._running: Request | None = None
        self._waiting: deque[Request] = deque()
        self._newest: Request | None = None
        self._read_paused = False
        self.write_paused = False
        self._writable: asyncio.Event | None = None
        self._deadline = math.inf
        self._head_is_timed = True
        # The one that is answered began in the bytes that are being parsed.
        self._is_new = False
        # The parser has read whole requests and nothing of the next. It says when a request is complete and not how far
        # it has read by then, so this is known where each request came in one piece.
        self._is_between = True
        self._alarm = Alarm(self._look)

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the peer `header_timeout` for its first request."""
        self.transport = cast("asyncio.Transport", transport)
        self._server = address(transport.get_extra_info("sockname"))
        self._client = address(transport.get_extra_info("peername"))
        if transport.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        self._served.connections.add(self)
        self._end_in(self._served.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell the running call."""
        self._served.connections.discard(self)
        self._ignores = True
        self._alarm.cancel()
        self._waiting.clear()
        if self._running is not None:
            self._running.disconnect()
        self.resume_writing()
        # It holds methods of this object.
        del self._parser

    def pause_writing(self) -> None:
        """Let replies wait: the peer does not take what is written."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let replies go on."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that have arrived, and start the request that began in them."""
        was_between = self._is_between
        if was_between:
            newest = self._newest
            if self._running is not None or self.write_paused or not (newest is None or newest.keep_alive):
                was_between = False
            elif (reply := self._known.reply(data, self._client)) is not None:
                self.transport.write(reply)
                self._end_in(self._served.keep_alive)
                return
        self._parse(data)
        if not self._is_new or self._running is None:
            self._is_between = False
            return
        self._is_new = False
        request = self._running
        # Alone in these bytes, and nothing after it.
        self._is_between = is_whole = (
            was_between
            and not request.more_body
            and data.find(_END_OF_HEAD) + len(_END_OF_HEAD) + len(request.body) == len(data)
        )
        if not self._answer_at_once(request, data if is_whole else None):
            self._run(request)

    def _answer_at_once(self, request: Request, data: bytes | None) -> bool:
        """Answer a request without a task; keep that with its bytes, where they are given."""
        at_once = self._served.at_once
        if at_once is None or request.more_body or request.disconnected or self.write_paused:
            return False
        answer = request.answer_at_once(at_once, request.body)
        if answer is None:
            return False
        if data is not None and request.keep_alive and request.scope["method"] != "HEAD":
            self._known.keep(data, answer)
        return True

    def _parse(self, data: bytes) -> None:
        size = len(data)
        if self._ignores:
            self._discard(size)
            return
        self._chunk_bytes = size
        if self._in_head:
            self._head_bytes += size
            self._framing = 0
        else:
            self._framing = max(self._framing, 0) + size
        offer = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            offer = upgrade.args[0]
        except httptools.HttpParserError as error:
            self._refuse(_reason_of(error))
            return
        if offer and not self._decline(data, offer):
            return
        if self._in_head:
            if self._head_bytes or self._target:
                self._await_head()
        elif self._framing > self._served.max_header_bytes:
            self._refuse(TOO_LARGE)

    # What the parser says.

    def on_url(self, piece: bytes) -> None:
        """Take a piece of the request target."""
        self._target = self._target + piece if self._target else piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, of the head or, after the last chunk, a trailer."""
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request, or let it wait for those before it."""
        headers, self._headers = self._headers, []
        target, self._target = self._target, b""
        hosts, self._hosts = self._hosts, 0
        if self._declined:
            # The same request once more.
            self._declined = False
            return
        served = self._served
        if self._head_bytes + self._chunk_bytes > served.max_header_bytes:
            size = len(target) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > served.max_header_bytes:
                raise _Refuse(TOO_LARGE)
        newest = self._newest
        if hosts > 1 or (newest is not None and not newest.keep_alive):
            # Whoever is in front may have read the other host (RFC 9112, 3.2); and after the last request is none.
            raise _Refuse(MALFORMED)
        parser = self._parser
        keep_alive = parser.should_keep_alive()
        if not keep_alive or newest is None:
            # Of a connection that has been kept alive it is known; to ask costs half a microsecond.
            self._version = parser.get_http_version()
            if self._version not in _VERSIONS:
                raise _Refuse(MALFORMED)
        method = parser.get_method().decode()
        if target[:1] == b"/" and target.isascii() and b"#" not in target:
            raw_path, _, query = target.partition(b"?")
        else:
            raw_path, query = _read_target(method, target, headers)
        path = raw_path.decode()
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": self._version,
            "method": method,
            "scheme": self._scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self._client,
            "server": self._server,
        }
        request = Request(self, scope, keep_alive=keep_alive and self._version == "1.1")
        self._declined = parser.should_upgrade()
        self._in_head = False
        self._head_bytes = 0
        self._discarded = 0
        self._deadline = math.inf
        self._head_is_timed = False
        self._newest = request
        if self._running is None:
            self._running = request
            self._is_new = True
        else:
            self._waiting.append(request)
            self._pause_reading()

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        size = len(piece)
        self._framing -= size + size * _FRAMING_PER_BYTE
        request = self._newest
        assert request is not None  # noqa: S101 - its headers came before
        if request.is_answered:
            self._discard(size)
        elif request.feed(piece) > _MAX_UNREAD_BYTES:
            self._pause_reading()

    def on_message_complete(self) -> None:
        """Take the end of the body, and of its trailers, of which ASGI knows none."""
        if self._declined:
            # What llhttp takes for the end lies before the body.
            return
        self._in_head = True
        if self._headers:
            self._headers = []
            self._hosts = 0
        request = self._newest
        assert request is not None  # noqa: S101 - its headers came before
        if request.is_answered:
            self._end_in(self._served.keep_alive)
        else:
            request.end()

    # What a request says.

    async def drain(self) -> None:
        """Wait until the peer has taken some of what was written."""
        if self._writable is None:
            self._writable = asyncio.Event()
        while self.write_paused:
            self._writable.clear()
            await self._writable.wait()

    def read_on(self) -> None:
        """Read from the peer again, unless requests of it wait."""
        if self._read_paused and not self._waiting and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    def replied(self, request: Request) -> None:
        """Go on to the next request, or wait for one."""
        self._running = None
        if not request.keep_alive:
            self.close()
            return
        if self._waiting:
            self._run(self._waiting.popleft())
        elif not self._in_head:
            # The reply did not wait for the rest of the request, and the connection does not wait for ever.
            self._end_in(self._served.header_timeout)
        elif not self._head_is_timed:
            self._end_in(self._served.keep_alive)
        if self._read_paused:
            self.read_on()

    def ended(self, request: Request) -> None:
        """Forget the task of a request."""
        self._served.ended(request)

    def close(self) -> None:
        """Close the connection; a peer that does not take what was written gets `header_timeout` to do so."""
        self._ignores = True
        self._is_between = False
        if self._running is not None:
            self._running.disconnect()
        self._waiting.clear()
        self.transport.close()
        self._end_in(self._served.header_timeout)

    # What the host says.

    def shut_down(self) -> None:
        """Close the connection once the requests that have come are answered."""
        if self._newest is None or self._newest.is_answered:
            self.close()
        else:
            self._newest.keep_alive = False

    def drop_waiting(self) -> None:
        """Answer none but the running request."""
        self._waiting.clear()
        if self._running is not None:
            self._running.keep_alive = False

    # Within.

    def _run(self, request: Request) -> None:
        self._running = request
        self._served.start(request)

    def _decline(self, data: bytes, end_of_head: int) -> bool:
        """Serve the request that offers another protocol, of which clients must expect that it is not taken up.

        llhttp takes its body for the other protocol's, and clients that offer h2c send one (RFC 7540, 3.2): so another
        parser is told the little of the head that says how long the body is, and what followed the head.

        Returns: whether what followed was in order.
        """
        rest = memoryview(data)
        while end_of_head:
            rest = rest[end_of_head:]
            end_of_head = 0
            assert self._newest is not None  # noqa: S101 - the one that offers
            head = [b"POST / HTTP/1.1"]
            head += [name + b": " + value for name, value in self._newest.scope["headers"] if name in _LENGTHS]
            self._parser = httptools.HttpRequestParser(self)
            try:
                self._parser.feed_data(b"\r\n".join([*head, b"", b""]))
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                end_of_head = upgrade.args[0]
            except httptools.HttpParserError as error:
                self._refuse(_reason_of(error))
                return False
        return True

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > _MAX_DISCARDED_BYTES:
            self.close()

    def _await_head(self) -> None:
        """Bound in bytes and in time a head of which a part has arrived."""
        if self._head_bytes > self._served.max_header_bytes:
            self._refuse(TOO_LARGE)
        elif not self._head_is_timed:
            self._head_is_timed = True
            self._end_in(self._served.header_timeout)

    def _refuse(self, reason: Reason) -> None:
        """Answer what cannot be given to the application; the requests before it keep their replies."""
        self._ignores = True
        self._deadline = math.inf
        request = self._newest
        if request is not None and not request.is_answered:
            if not request.more_body:
                # It is whole, and gets its reply; the connection closes after it.
                request.keep_alive = False
                return
            if request is not self._running:
                self._waiting.pop()
                last = self._waiting[-1] if self._waiting else self._running
                if last is not None:
                    last.keep_alive = False
                return
            # The application waits for more of this body; to it the caller is gone.
            request.disconnect()
            if not request.is_unanswered:
                self.close()
                return
        self.transport.write(refusal(reason))
        self.close()

    def _end_in(self, seconds: float) -> None:
        """Let the peer go unless something happens within so many seconds."""
        self._deadline = deadline = self._loop.time() + seconds
        self._alarm.set(deadline)

    def _look(self) -> None:
        left = self._deadline - self._loop.time()
        if left > _EARLY:
            if self._deadline < math.inf:
                self._end_in(left)
        elif self.transport.is_closing():
            self.transport.abort()
        elif self._in_head and (self._head_bytes or self._target):
            self._refuse(TOO_SLOW)
        else:
            self.close()


def _reason_of(error: Exception) -> Reason:
    """Say what a peer is told of what went wrong in the parser or in what it calls."""
    cause = error.__context__
    if isinstance(cause, _Refuse):
        return cause.reason
    if cause is not None:
        raise cause
    return MALFORMED


def _read_target(method: str, target: bytes, headers: Headers) -> tuple[bytes, bytes]:
    """Give path and query of a request target that is not simply those (RFC 9112, 3.2).

    The host of an absolute target takes the place of the header's.
    """
    if method == "CONNECT" or not target.isascii():
        raise _Refuse(MALFORMED)
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise _Refuse(MALFORMED) from None
    if url.schema is not None:
        authority = _AUTHORITY_ENDS.split(target.partition(b"://")[2], 1)[0].rpartition(b"@")[2]
        headers[:] = [(b"host", authority), *((name, value) for name, value in headers if name != b"host")]
    return url.path or b"/", url.query or b""
