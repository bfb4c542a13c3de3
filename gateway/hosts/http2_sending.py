"""What a connection of HTTP/2 has to say: one write for each turn of the loop, bodies as the windows of the peer allow.

Flow control: RFC 9113, 5.2. A body that no window holds back goes out at once; what one does waits here, and streams
that wait get a frame each in turn.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.hosts.http2_budget import Budget
from gateway.hosts.http2_frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_STREAM,
    LARGEST_WINDOW,
    frame,
    header_frames,
)

# What may wait of one body, and what may be said in one turn before it is written.
_WAITING_BYTES: Final = 64 * 1024
# What may wait on a connection, before each of its streams waits for its own to go.
_ALL_WAITING_BYTES: Final = 1024 * 1024
# What a frame of a body is worth of frames that bring nobody anything.
_EARNED: Final = 4
# What a table may hold unless a peer says otherwise, and what says that it holds nothing (RFC 7541, 4.2 and 6.3).
_TABLE_BYTES: Final = 4096
_EMPTY_TABLE: Final = b"\x20"
# So many answers to what the peer says are written while it does not read; then nothing more of it is read.
_UNREAD_ANSWERS: Final = 256


class Sending:
    """The sending half of a connection."""

    __slots__ = (
        "_answers",
        "_budget",
        "_flushes",
        "_is_reading",
        "_loop",
        "_out",
        "_out_bytes",
        "_ready",
        "_resizes",
        "_transport",
        "_waiting",
        "held",
        "initial_window",
        "is_paused",
        "max_frame_bytes",
        "window",
    )

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, budget: Budget) -> None:
        self._transport = transport
        self._loop = loop
        self._budget = budget
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._flushes = False
        # Streams with something to send and a window of their own for it, by number; the first is next.
        self._ready: dict[int, Outgoing] = {}
        # Those whose application waits for the transport.
        self._waiting: set[Outgoing] = set()
        self._answers = 0
        self._is_reading = True
        self.is_paused = False
        # What waits of all bodies.
        self.held = 0
        self.window = DEFAULT_WINDOW
        # The next header block is to say that the table stays empty.
        self._resizes = False
        # What the peer's settings say.
        self.initial_window = DEFAULT_WINDOW
        self.max_frame_bytes = DEFAULT_FRAME_BYTES

    def say(self, frames: bytes) -> None:
        """Write frames, together with whatever else is said in this turn."""
        self._out.append(frames)
        self._out_bytes += len(frames)
        if self._out_bytes > _WAITING_BYTES:
            self.flush()
        elif not self._flushes:
            self._flushes = True
            self._loop.call_soon(self.flush)

    def say_headers(self, stream: int, block: bytes, *, last: bool) -> None:
        """Write a header block; `last` where nothing follows it."""
        if self._resizes:
            self._resizes = False
            block = _EMPTY_TABLE + block
        self.say(header_frames(stream, block, self.max_frame_bytes, last=last))

    def resize_table(self, size: int) -> None:
        """Take it that the peer's table for header blocks is smaller than at first: it waits to be told of its use."""
        if size < _TABLE_BYTES:
            self._resizes = True

    def say_data(self, size: int, written: bytes) -> None:
        """Write a frame of a body that takes `size` from the connection's window."""
        self.window -= size
        # The peer will open windows for it.
        self._budget.earn(_EARNED)
        self.say(written)

    def answer(self, frames: bytes) -> None:
        """Write what the peer asked for by a frame of a few bytes; if it takes none of that, it is not heard."""
        self.say(frames)
        if self.is_paused and self._is_reading:
            self._answers += 1
            if self._answers > _UNREAD_ANSWERS and not self._transport.is_closing():
                self._is_reading = False
                self._transport.pause_reading()

    def flush(self) -> None:
        """Write what was said."""
        self._flushes = False
        if self._out:
            written = b"".join(self._out)
            self._out.clear()
            self._out_bytes = 0
            if not self._transport.is_closing():
                self._transport.write(written)

    def pause(self) -> None:
        """Let bodies wait: the peer does not take what is written."""
        self.is_paused = True
        self._answers = 0

    def resume(self) -> None:
        """Let them go on."""
        self.is_paused = False
        if not self._is_reading:
            self._is_reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()
        waiting, self._waiting = self._waiting, set()
        for stream in waiting:
            stream.move()
        self.pump()

    def await_room(self, stream: "Outgoing") -> None:
        """Tell a stream when the peer takes again what is written."""
        self._waiting.add(stream)

    def forget(self, stream: "Outgoing") -> None:
        """Send no more of a stream."""
        self._ready.pop(stream.number, None)
        self._waiting.discard(stream)

    def open_window(self, size: int) -> bool:
        """Take it that so many bytes more may be sent on the connection; say whether that is a window at all."""
        self.window += size
        if self.window > LARGEST_WINDOW:
            return False
        self.pump()
        return True

    def offer(self, stream: "Outgoing") -> None:
        """Send what a stream has, as far as the windows go, when it is its turn."""
        if stream.window > 0:
            self._ready[stream.number] = stream
            self.pump()

    def pump(self) -> None:
        """Send a frame of each stream that is ready, over and over."""
        ready = self._ready
        while ready and self.window > 0 and not self.is_paused:
            number, stream = next(iter(ready.items()))
            del ready[number]
            if stream.send_some():
                ready[number] = stream


class Outgoing:
    """The sending half of one stream.

    Args:
        sending: of its connection.
        number: of the stream.
        ended: called when the stream's last frame is said.
    """

    # One is made for each call.
    __slots__ = ("_at", "_ended", "_ending", "_moved", "_rest", "_sending", "is_over", "number", "window")

    def __init__(self, sending: Sending, number: int, ended: Callable[[], None]) -> None:
        self._sending = sending
        self.number = number
        self._ended = ended
        self.window = sending.initial_window
        # Its last frame is said, or nobody waits for it.
        self.is_over = False
        # What waits, from `_at` on, and what follows it: None where more of it may, b"" where nothing does, trailers.
        self._rest = b""
        self._at = 0
        self._ending: bytes | None = None
        self._moved: asyncio.Event | None = None

    @property
    def must_wait(self) -> bool:
        """Whether enough waits already; see `drain`."""
        if self._sending.is_paused:
            return True
        left = len(self._rest) - self._at
        return left > _WAITING_BYTES or (left > 0 and self._sending.held > _ALL_WAITING_BYTES)

    async def drain(self) -> None:
        """Wait until the peer has taken some of what waits, or the stream is over."""
        while self.must_wait and not self.is_over:
            if self._moved is None:
                self._moved = asyncio.Event()
            self._moved.clear()
            self._sending.await_room(self)
            await self._moved.wait()

    def move(self) -> None:
        """Let the application go on."""
        if self._moved is not None:
            self._moved.set()

    def head(self, block: bytes, *, last: bool = False) -> None:
        """Say a header block before the body; `last` where no body follows."""
        self._sending.say_headers(self.number, block, last=last)
        if last:
            self._end()

    def body(self, data: bytes, *, last: bool) -> None:
        """Say a piece of the body, or let it wait."""
        size, sending = len(data), self._sending
        if not self._rest:
            if not size:
                if last:
                    sending.say(frame(DATA, END_STREAM, self.number))
                    self._end()
                return
            if (
                size <= self.window
                and size <= sending.window
                and size <= sending.max_frame_bytes
                and not sending.is_paused
            ):
                self.window -= size
                sending.say_data(size, frame(DATA, END_STREAM if last else 0, self.number, data))
                if last:
                    self._end()
                return
        self._rest = self._rest[self._at :] + data
        self._at = 0
        sending.held += size
        if last:
            self._ending = b""
        sending.offer(self)

    def trailers(self, block: bytes) -> None:
        """Say what ends the stream after its body."""
        if self._rest:
            self._ending = block
        else:
            self._sending.say_headers(self.number, block, last=True)
            self._end()

    def open_window(self, size: int) -> bool:
        """Take it that so many bytes more, or fewer, may be sent; say whether that is a window at all."""
        self.window += size
        if self.window > LARGEST_WINDOW:
            return False
        if self._rest:
            self._sending.offer(self)
        return True

    def drop(self) -> None:
        """Send nothing more: the stream was reset, or the connection is gone."""
        self.is_over = True
        self._sending.held -= len(self._rest) - self._at
        self._rest = b""
        self._at = 0
        self._sending.forget(self)
        self.move()

    def send_some(self) -> bool:
        """Send a frame of what waits; say whether another could follow."""
        sending = self._sending
        left = len(self._rest) - self._at
        size = min(left, self.window, sending.window, sending.max_frame_bytes)
        if size <= 0:
            return False
        piece = self._rest[self._at : self._at + size]
        self._at += size
        self.window -= size
        sending.held -= size
        is_whole = size == left
        ends = is_whole and self._ending == b""
        sending.say_data(size, frame(DATA, END_STREAM if ends else 0, self.number, piece))
        if is_whole:
            self._rest = b""
            self._at = 0
            if self._ending:
                sending.say_headers(self.number, self._ending, last=True)
            if self._ending is not None:
                self._end()
        if not self.must_wait:
            self.move()
        return not is_whole and self.window > 0

    def _end(self) -> None:
        self.is_over = True
        if self._moved is not None:
            self._sending.forget(self)
        self._ended()
