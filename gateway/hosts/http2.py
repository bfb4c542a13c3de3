"""HTTP/2 (RFC 9113): an ASGI application on a connection, inside the running event loop, with limits on its peer.

A connection is one `asyncio.Protocol`. Here are the frames that it receives and the states of its streams; what a block
of headers says is in `http2_headers`, what goes out in `http2_sending`, what the application sees in `http2_request`.
A call makes one task and no timer, and what all calls of a connection have to say in a turn of the loop is one write.

What a peer can make the server hold is bounded: bodies that nobody reads by the windows, headers while they are
received, calls by their number (those that were reset and still run count), answers to frames by not reading on, and
frames that cost something and bring nobody anything by `Budget`.
"""

import asyncio
import math
from typing import Final, cast

from gateway._types import Address, Scope
from gateway.hosts.answers import TOO_LARGE, answer
from gateway.hosts.http2_budget import Budget
from gateway.hosts.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEAD,
    HEAD_BYTES,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME_BYTES,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    NUMBER,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SETTING,
    SETTINGS,
    STREAM_CLOSED,
    WITH_PRIORITY,
    ConnectionBroken,
    frame,
    goaway,
    rst_stream,
    settings,
    unpadded,
    window_update,
)
from gateway.hosts.http2_headers import HeaderReader, RequestHead, are_trailers, status_field, write_fields
from gateway.hosts.http2_request import Request
from gateway.hosts.http2_sending import Sending
from gateway.hosts.served import Alarm, Served, address

# Calls at once on one connection; a client keeps further ones back by itself.
_MAX_STREAMS: Final = 1_000
# With those that were reset and still run.
_MAX_RUNNING: Final = 2 * _MAX_STREAMS
# What may come unread of one body, and of all on a connection; the peer is told of room when a quarter is free again.
_STREAM_WINDOW: Final = 256 * 1024
_CONNECTION_WINDOW: Final = 4 * 1024 * 1024
_STREAM_UPDATE: Final = _STREAM_WINDOW // 4
_CONNECTION_UPDATE: Final = _CONNECTION_WINDOW // 4
# A header block that is not whole may have so much more than the limit, so that one in a frame is always read.
_BLOCK_BEYOND: Final = DEFAULT_FRAME_BYTES
# Of the streams that were reset here: what still comes for them was under way.
_RESETS_REMEMBERED: Final = 1_000
_GAPS_REMEMBERED: Final = 8
# Of a header block: as many take some tenths of a millisecond to read, and an answered call pays for eight times that.
_DEAR_BYTES: Final = 1024
# What an answered call is worth of frames that bring nobody anything, and a frame of a body.
_EARNED_BY_CALL: Final = 8
_EARNED_BY_DATA: Final = 1
# After an error, for the peer to read of it and close.
_LINGER: Final = 1.0
# Timers end up to so many seconds early.
_EARLY: Final = 0.001

_PING_BYTES: Final = 8
_ALIVE: Final = b"alive?\0\0"
_DRAINED: Final = b"drained\0"
_PRIORITY_BYTES: Final = 5

_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
_TRAILERS: Final = "http.response.trailers"


class HTTP2Connection(asyncio.Protocol):
    """One connection: what comes in its frames, the states of its streams, how much and how long it may take.

    When its alarm goes off it looks at all that may be due.
    """

    __slots__ = (
        "_alarm",
        "_block",
        "_block_bytes",
        "_block_ends",
        "_block_flags",
        "_block_stream",
        "_budget",
        "_client",
        "_frames",
        "_gaps",
        "_gone_by",
        "_heard",
        "_ignores",
        "_is_draining",
        "_last",
        "_loop",
        "_new",
        "_opening_ends",
        "_partial",
        "_pinged",
        "_reader",
        "_refuses",
        "_resets",
        "_running",
        "_scheme",
        "_served",
        "_server",
        "_streams",
        "_unannounced",
        "_window",
        "sending",
        "transport",
    )

    def __init__(self, served: Served) -> None:
        self._served = served
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.sending: Sending
        self._server: Address | None = None
        self._client: Address | None = None
        self._scheme = "http"
        self._reader = HeaderReader(served.max_header_bytes)
        self._budget = Budget()
        # What came of a frame that is not whole.
        self._partial = b""
        # The preface and the first SETTINGS are due until then.
        self._opening_ends = math.inf
        # The header block that is not whole, of which stream it is, with what flags, and when it has to be.
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._block_stream = 0
        self._block_flags = 0
        self._block_ends = math.inf
        # The streams that are open, the newest there was, those that the peer left out, and those that were reset here.
        self._streams: dict[int, Request] = {}
        self._last = 0
        self._gaps: list[range] = []
        self._resets: dict[int, None] = {}
        # Requests of the bytes that are being read; and how many tasks run.
        self._new: list[Request] = []
        self._running = 0
        # What the peer may still send, and what of it was received and the peer does not know yet.
        self._window = _CONNECTION_WINDOW
        self._unannounced = 0
        self._is_draining = False
        self._refuses = False
        # Nothing of what still comes is for anybody.
        self._ignores = False
        self._gone_by = math.inf
        self._heard = 0.0
        self._pinged: float | None = None
        self._alarm = Alarm(self._look)
        self._frames = (
            self._on_data,
            self._on_headers,
            self._on_priority,
            self._on_rst_stream,
            self._on_settings,
            self._on_push_promise,
            self._on_ping,
            self._on_goaway,
            self._on_window_update,
            self._on_continuation,
        )

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what is offered, and give the peer `header_timeout` for its preface and settings."""
        self.transport = cast("asyncio.Transport", transport)
        self.sending = Sending(self.transport, self._loop, self._budget)
        self._server = address(transport.get_extra_info("sockname"))
        self._client = address(transport.get_extra_info("peername"))
        if transport.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        self._served.connections.add(self)
        self.sending.say(
            settings(
                {
                    MAX_CONCURRENT_STREAMS: _MAX_STREAMS,
                    INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
                    MAX_HEADER_LIST_SIZE: self._served.max_header_bytes,
                }
            )
            + window_update(0, _CONNECTION_WINDOW - DEFAULT_WINDOW)
        )
        self._heard = now = self._loop.time()
        self._opening_ends = now + self._served.header_timeout
        self._alarm.set(self._opening_ends)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell the running calls."""
        self._served.connections.discard(self)
        self._ignores = True
        self._alarm.cancel()
        self._disconnect_all()
        self.sending.resume()
        # It holds methods of this object.
        del self._frames

    def pause_writing(self) -> None:
        """Let replies wait: the peer does not take what is written."""
        self.sending.pause()

    def resume_writing(self) -> None:
        """Let replies go on."""
        self.sending.resume()

    def data_received(self, data: bytes) -> None:
        """Read the frames that are whole, and start the requests that came in them."""
        if self._ignores:
            return
        if self._partial:
            data = self._partial + data
            self._partial = b""
        try:
            at = self._read(data)
        except ConnectionBroken as error:
            self._new.clear()
            self._fail(error.code, error.reason)
            return
        if at:
            self._heard = self._loop.time()
            self._pinged = None
        if at < len(data):
            self._partial = data[at:]
        if self._new:
            self._take_up_new()

    def _take_up_new(self) -> None:
        """Answer the requests that have come, or start them."""
        at_once = self._served.at_once
        for request in self._new:
            if request.disconnected:
                continue
            if at_once is None or request.more_body or request.outgoing.must_wait:
                request.scope = self._scope(request.head)
                self._start(request)
                continue
            body = request.body
            if not request.answer_as_known(body, self._client):
                request.scope = self._scope(request.head)
                answer = request.answer_at_once(at_once, body)
                if answer is None:
                    self._start(request)
                else:
                    request.make_known(body, answer)
        self._new.clear()

    def _scope(self, head: RequestHead) -> Scope:
        return {
            "type": "http",
            "asgi": _ASGI.copy(),
            "http_version": "2",
            "method": head.method,
            "scheme": self._scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            # Of each request its own: it may be remembered for others.
            "headers": head.headers.copy(),
            "client": self._client,
            "server": self._server,
            "extensions": {_TRAILERS: {}},
        }

    # Frames.

    def _read(self, data: bytes) -> int:
        """Take each whole frame; return where the rest begins."""
        at, size = 0, len(data)
        if self._opening_ends < math.inf:
            at = self._read_preface(data)
            if at == 0:
                return 0
        frames = self._frames
        while size - at >= HEAD_BYTES:
            high, low, kind, flags, stream = HEAD.unpack_from(data, at)
            length = high << 16 | low
            if length > DEFAULT_FRAME_BYTES:
                raise ConnectionBroken(FRAME_SIZE_ERROR, "a frame is too long")
            begin = at + HEAD_BYTES
            end = begin + length
            if end > size:
                break
            if self._block_stream and kind != CONTINUATION:
                raise ConnectionBroken(PROTOCOL_ERROR, "a header block is interrupted")
            at = end
            if kind < len(frames):
                frames[kind](flags, stream & LARGEST_STREAM, data[begin:end])
                if self._ignores:
                    return size
            else:
                # Extensions are left alone (5.5).
                self._pay()
        return at

    def _read_preface(self, data: bytes) -> int:
        """Return where the first frame begins, once it is known that it is SETTINGS (3.4); until then 0."""
        head = data[: len(PREFACE)]
        if not PREFACE.startswith(head):
            raise ConnectionBroken(PROTOCOL_ERROR, "there is no preface")
        if len(data) < len(PREFACE) + HEAD_BYTES:
            return 0
        high, low, kind, flags, _ = HEAD.unpack_from(data, len(PREFACE))
        length = high << 16 | low
        if kind != SETTINGS or flags & ACK:
            raise ConnectionBroken(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if length <= DEFAULT_FRAME_BYTES and len(data) < len(PREFACE) + HEAD_BYTES + length:
            return 0
        self._opening_ends = math.inf
        self._alarm.set(self._loop.time() + self._served.ping_every)
        return len(PREFACE)

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        # Padding counts, and so does what nobody waits for any more.
        self._window -= size
        if self._window < 0:
            raise ConnectionBroken(FLOW_CONTROL_ERROR, "more was sent than the connection's window")
        data = unpadded(flags, payload)
        request = self._streams.get(stream)
        if request is None or not request.more_body:
            self._stray_data(request, stream, size)
            return
        request.window -= size
        if request.window < 0:
            self.reset(stream, FLOW_CONTROL_ERROR)
            self._take(size)
            return
        if size > len(data):
            self.received(request, size - len(data))
        if request.missing is not None:
            request.missing -= len(data)
        if data:
            request.feed(data)
            self._budget.earn(_EARNED_BY_DATA)
        elif not flags & END_STREAM:
            self._pay()
        if flags & END_STREAM:
            self._end_body(request)
        elif request.missing is not None and request.missing < 0:
            self.reset(stream, PROTOCOL_ERROR)

    def _stray_data(self, request: Request | None, stream: int, size: int) -> None:
        if request is None and (stream > self._last or not stream & 1):
            raise ConnectionBroken(PROTOCOL_ERROR, "DATA of a stream that was never opened")
        self._take(size)
        if stream not in self._resets:
            self._reset_paid(stream, STREAM_CLOSED)
        elif not size:
            self._pay()

    def _end_body(self, request: Request) -> None:
        if request.missing:
            self.reset(request.number, PROTOCOL_ERROR)
        else:
            request.end()

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream & 1:
            raise ConnectionBroken(PROTOCOL_ERROR, "HEADERS of a stream that no client opens")
        block = unpadded(flags, payload)
        depends_on_itself = False
        if flags & WITH_PRIORITY:
            if len(block) < _PRIORITY_BYTES:
                raise ConnectionBroken(FRAME_SIZE_ERROR, "HEADERS are too short")
            depends_on_itself = NUMBER.unpack_from(block)[0] & LARGEST_STREAM == stream
            block = block[_PRIORITY_BYTES:]
        if depends_on_itself:
            # The block is read nevertheless: it may change the table.
            flags |= _SPOILT
        if flags & END_HEADERS:
            self._on_block(flags, stream, block)
        else:
            self._block = [block]
            self._block_bytes = len(block)
            self._block_stream = stream
            self._block_flags = flags
            self._block_ends = self._loop.time() + self._served.header_timeout
            self._alarm.set(self._block_ends)
            self._check_block()

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream or stream != self._block_stream:
            raise ConnectionBroken(PROTOCOL_ERROR, "CONTINUATION of no header block")
        self._pay()
        self._block.append(payload)
        self._block_bytes += len(payload)
        if flags & END_HEADERS:
            block = b"".join(self._block)
            self._block = []
            self._block_stream = 0
            self._block_ends = math.inf
            self._on_block(self._block_flags, stream, block)
        else:
            self._check_block()

    def _check_block(self) -> None:
        """End a connection whose header block grows too large, while it grows."""
        if self._block_bytes <= self._served.max_header_bytes + _BLOCK_BEYOND:
            return
        stream = self._block_stream
        if stream > self._last:
            self._last = stream
            self._refuse_headers(stream, "GET", closes=False)
        raise ConnectionBroken(ENHANCE_YOUR_CALM, "the headers are too large")

    def _on_block(self, flags: int, stream: int, block: bytes) -> None:
        if stream <= self._last:
            self._on_late_block(flags, stream, block)
            return
        if stream > self._last + 2 and len(self._gaps) < _GAPS_REMEMBERED:
            self._gaps.append(range(self._last + 2 if self._last else 1, stream, 2))
        self._last = stream
        if len(block) >= _DEAR_BYTES:
            self._pay(len(block) // _DEAR_BYTES)
        head = self._reader.request(block)
        if self._refuses or len(self._streams) >= _MAX_STREAMS or self._running >= _MAX_RUNNING:
            self._reset_paid(stream, REFUSED_STREAM)
        elif head.malformed or flags & _SPOILT or (flags & END_STREAM and head.length):
            self._reset_paid(stream, PROTOCOL_ERROR)
        elif head.list_bytes > self._served.max_header_bytes:
            self._pay()
            self._refuse_headers(stream, head.method, closes=bool(flags & END_STREAM))
        else:
            self._open(flags, stream, head)

    def _open(self, flags: int, stream: int, head: RequestHead) -> None:
        request = Request(self, stream, head, _STREAM_WINDOW)
        if flags & END_STREAM:
            request.more_body = False
        self._streams[stream] = request
        self._new.append(request)

    def _on_late_block(self, flags: int, stream: int, block: bytes) -> None:
        """Take the trailers of a request, of which ASGI knows none, or refuse what is none."""
        self._pay(1 + len(block) // _DEAR_BYTES)
        fields = self._reader.fields(block)
        request = self._streams.get(stream)
        if request is None:
            if stream in self._resets:
                return
            if any(stream in gap for gap in self._gaps):
                raise ConnectionBroken(PROTOCOL_ERROR, "streams are opened in the order of their numbers")
            raise ConnectionBroken(STREAM_CLOSED, "HEADERS of a stream that is closed")
        if not request.more_body:
            self._reset_paid(stream, STREAM_CLOSED)
        elif not flags & END_STREAM or flags & _SPOILT or not are_trailers(fields):
            self._reset_paid(stream, PROTOCOL_ERROR)
        else:
            self._end_body(request)

    def _refuse_headers(self, stream: int, method: str, *, closes: bool) -> None:
        """Answer a request whose headers are too large to be given to anybody."""
        headers, body = answer(TOO_LARGE)
        sending = self.sending
        block = status_field(TOO_LARGE[0]) + write_fields(headers)
        # It is a hundred bytes; a peer that has left no room for them does without.
        is_whole = method != "HEAD" and len(body) <= min(sending.window, sending.initial_window)
        sending.say_headers(stream, block, last=not is_whole)
        if is_whole:
            sending.window -= len(body)
            sending.say(frame(DATA, END_STREAM, stream, body))
        if not closes:
            self._say_reset(stream, NO_ERROR)

    def _on_priority(self, _flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionBroken(PROTOCOL_ERROR, "PRIORITY of the connection")
        self._pay()
        # What it says means nothing any more (5.3.2), but that it can be read.
        if len(payload) != _PRIORITY_BYTES:
            self._reset_known(stream, FRAME_SIZE_ERROR)
        elif NUMBER.unpack_from(payload)[0] & LARGEST_STREAM == stream:
            self._reset_known(stream, PROTOCOL_ERROR)

    def _on_rst_stream(self, _flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != NUMBER.size:
            raise ConnectionBroken(FRAME_SIZE_ERROR, "RST_STREAM is not four bytes")
        self._check_opened(stream)
        self._pay()
        request = self._streams.pop(stream, None)
        if request is not None:
            self._take(request.disconnect())
            self._close_if_drained()

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(PROTOCOL_ERROR, "SETTINGS of a stream")
        if len(payload) % SETTING.size or (flags & ACK and payload):
            raise ConnectionBroken(FRAME_SIZE_ERROR, "SETTINGS are not pairs, or an acknowledgement holds some")
        self._pay()
        if not flags & ACK:
            self._take_settings(payload)
            self.sending.answer(_SETTINGS_ACK)

    def _take_settings(self, payload: bytes) -> None:
        sending = self.sending
        window = sending.initial_window
        for name, value in SETTING.iter_unpack(payload):
            allowed = _SETTINGS.get(name)
            if allowed is not None and not allowed[0] <= value <= allowed[1]:
                raise ConnectionBroken(allowed[2], f"setting {name} is out of range")
            if name == INITIAL_WINDOW_SIZE:
                window = value
            elif name == HEADER_TABLE_SIZE:
                sending.resize_table(value)
        change = window - sending.initial_window
        if not change:
            return
        sending.initial_window = window
        for request in list(self._streams.values()):
            if not request.outgoing.open_window(change):
                raise ConnectionBroken(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE makes a window too large")

    def _on_push_promise(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise ConnectionBroken(PROTOCOL_ERROR, "PUSH_PROMISE of a client")

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != _PING_BYTES:
            raise ConnectionBroken(FRAME_SIZE_ERROR, "PING is not eight bytes")
        self._pay()
        if not flags & ACK:
            self.sending.answer(frame(PING, ACK, 0, payload))
        elif payload == _DRAINED and self._is_draining:
            # What the peer sent before it knew of the end is here.
            self.drop_waiting()

    def _on_goaway(self, _flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 2 * NUMBER.size:
            raise ConnectionBroken(FRAME_SIZE_ERROR, "GOAWAY is too short")
        self._pay()
        # Nothing new comes; what is open is served.
        self._is_draining = True
        self._close_if_drained()

    def _on_window_update(self, _flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != NUMBER.size:
            raise ConnectionBroken(FRAME_SIZE_ERROR, "WINDOW_UPDATE is not four bytes")
        self._pay()
        size = NUMBER.unpack(payload)[0] & LARGEST_WINDOW
        if not stream:
            if not size:
                raise ConnectionBroken(PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            if not self.sending.open_window(size):
                raise ConnectionBroken(FLOW_CONTROL_ERROR, "the connection's window is too large")
            return
        self._check_opened(stream)
        request = self._streams.get(stream)
        if not size:
            self._reset_paid(stream, PROTOCOL_ERROR)
        elif request is not None and not request.outgoing.open_window(size):
            self.reset(stream, FLOW_CONTROL_ERROR)

    def _check_opened(self, stream: int) -> None:
        if stream > self._last or not stream & 1:
            raise ConnectionBroken(PROTOCOL_ERROR, "a frame of a stream that was never opened")

    def _pay(self, cost: int = 1) -> None:
        if not self._budget.pay(cost):
            raise ConnectionBroken(ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    # What a request says.

    def received(self, request: Request, size: int) -> None:
        """Let the peer send so many bytes more."""
        if request.more_body and not request.disconnected:
            request.unannounced += size
            if request.unannounced >= _STREAM_UPDATE:
                request.window += request.unannounced
                self.sending.say(window_update(request.number, request.unannounced))
                request.unannounced = 0
        self._take(size)

    def answered(self, request: Request) -> None:
        """Close the stream; a peer that has not said all of its request is told that it need not."""
        self._streams.pop(request.number, None)
        self._budget.earn(_EARNED_BY_CALL)
        if request.more_body:
            self._say_reset(request.number, NO_ERROR)
        left = request.drop()
        if left:
            self._take(left)
        if self._is_draining:
            self._close_if_drained()

    def reset(self, number: int, code: int) -> None:
        """End a stream at once."""
        self._say_reset(number, code)
        request = self._streams.pop(number, None)
        if request is not None:
            self._take(request.disconnect())
            self._close_if_drained()

    def ended(self, request: Request) -> None:
        """Forget the task of a request."""
        self._running -= 1
        self._served.ended(request)

    # What the host says.

    def shut_down(self) -> None:
        """Close the connection once its calls are answered: first by asking the peer to open no more (6.8)."""
        if self._ignores:
            return
        if not self._is_draining:
            self._is_draining = True
            if self._streams:
                self.sending.say(goaway(LARGEST_STREAM, NO_ERROR) + frame(PING, 0, 0, _DRAINED))
                return
        else:
            self.drop_waiting()
        if not self._streams:
            self._leave()

    def drop_waiting(self) -> None:
        """Take no more requests up."""
        if not self._refuses and not self._ignores:
            self._refuses = self._is_draining = True
            self.sending.say(goaway(self._last, NO_ERROR))

    # Within.

    def _start(self, request: Request) -> None:
        self._served.start(request)
        self._running += 1

    def _take(self, size: int) -> None:
        """Count what of the connection's window is free again."""
        self._unannounced += size
        if self._unannounced >= _CONNECTION_UPDATE and not self._ignores:
            self._window += self._unannounced
            self.sending.say(window_update(0, self._unannounced))
            self._unannounced = 0

    def _reset_paid(self, stream: int, code: int) -> None:
        """End a stream for a mistake of the peer's, of which it may not make too many."""
        self._pay()
        self.reset(stream, code)

    def _reset_known(self, stream: int, code: int) -> None:
        """End a stream, unless there is none yet: PRIORITY may come before it."""
        if stream <= self._last and stream & 1:
            self._reset_paid(stream, code)
        else:
            raise ConnectionBroken(code, "PRIORITY cannot be read")

    def _say_reset(self, stream: int, code: int) -> None:
        if len(self._resets) >= _RESETS_REMEMBERED:
            del self._resets[next(iter(self._resets))]
        self._resets[stream] = None
        self.sending.answer(rst_stream(stream, code))

    def _disconnect_all(self) -> None:
        streams, self._streams = self._streams, {}
        for request in streams.values():
            request.disconnect()

    def _close_if_drained(self) -> None:
        if self._is_draining and not self._streams and not self._ignores:
            self._leave()

    def _leave(self) -> None:
        """Close a connection on which nothing is under way."""
        self._say_last(NO_ERROR, "", lingers=self._last > 0)

    def _fail(self, code: int, reason: str) -> None:
        """End a connection on which something went wrong; the running calls have lost their caller."""
        self._say_last(code, reason, lingers=True)
        self._disconnect_all()

    def _say_last(self, code: int, reason: str, *, lingers: bool) -> None:
        self._ignores = True
        self._partial = b""
        self._block = []
        self.sending.say(goaway(self._last, code, reason))
        self.sending.flush()
        if self.transport.is_closing():
            return
        # To close at once would reset the connection where something of the peer's is unread, and could take from it
        # what was said last.
        if lingers and self.transport.can_write_eof():
            try:
                self.transport.write_eof()
            except OSError:
                # The peer has reset the connection, and the loop does not know yet.
                self.transport.abort()
        else:
            self.transport.close()
        # Replies may still be on their way to a peer that has done nothing wrong.
        self._gone_by = self._loop.time() + (_LINGER if code else self._served.header_timeout)
        self._alarm.set(self._gone_by)

    # Time.

    def _look(self) -> None:
        now = self._loop.time() + _EARLY
        if self._ignores:
            if now >= self._gone_by:
                self.transport.abort()
            else:
                self._alarm.set(self._gone_by)
            return
        due = min(self._opening_ends, self._block_ends)
        if now >= due:
            self._fail(PROTOCOL_ERROR, "the start of the connection, or a header block, did not arrive in time")
            return
        if self._pinged is not None:
            if now >= self._pinged + self._served.ping_timeout:
                self._fail(NO_ERROR, "a ping was not answered")
                return
            due = min(due, self._pinged + self._served.ping_timeout)
        elif self._opening_ends == math.inf:
            if now >= self._heard + self._served.ping_every:
                self._pinged = now
                self.sending.say(frame(PING, 0, 0, _ALIVE))
                due = min(due, now + self._served.ping_timeout)
            else:
                due = min(due, self._heard + self._served.ping_every)
        self._alarm.set(due)


# Beside the flags of HEADERS: the frame itself was wrong.
_SPOILT: Final = 0x100
# What a setting may be, and what another value is (6.5.2). Frames larger than all peers take bring nothing here, and
# would let one stream hold up the others.
_SETTINGS: Final = {
    ENABLE_PUSH: (0, 1, PROTOCOL_ERROR),
    INITIAL_WINDOW_SIZE: (0, LARGEST_WINDOW, FLOW_CONTROL_ERROR),
    MAX_FRAME_SIZE: (DEFAULT_FRAME_BYTES, LARGEST_FRAME_BYTES, PROTOCOL_ERROR),
}
_SETTINGS_ACK: Final = frame(SETTINGS, ACK, 0)
