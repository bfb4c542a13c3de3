"""Header blocks of HTTP/2: what is remembered of them is what a decoder without a memory reads; what may be in them."""

import os
from collections.abc import Sequence
from typing import Any

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.hosts import http2_headers
from gateway.hosts.http2_frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionBroken
from gateway.hosts.http2_headers import HeaderReader, RequestHead, status_field, write_fields

# More where there is time: INSTANCED_EXAMPLES=5000.
EXAMPLES = int(os.environ.get("INSTANCED_EXAMPLES", "300"))

LIMIT = 32 * 1024
# GET http /
REQUEST = b"\x82\x86\x84"

NAMES = (b"authorization", b"x-a", b"x-b", b"cookie")
# Of the longest the table holds two, of those before them four.
VALUES = (b"", b"one", b"two", b"x" * 900, b"y" * 1900, b"z" * 4100)
SIZES = (0, 100, 1000, 2000, 4096)


def literal(name: bytes, value: bytes, *, kept: bool) -> bytes:
    """Write a field, put into the table if it is to be kept."""
    return (b"\x40" if kept else b"\0") + http2_headers._string(name) + http2_headers._string(value)


def size_update(size: int) -> bytes:
    encoded = hpack.hpack.encode_integer(size, 5)
    encoded[0] |= 0x20
    return bytes(encoded)


# Fields of the table, of which there may be none: the same bytes mean another thing after each change of it.
named = st.sampled_from((62, 62, 62, 63, 63, 64, 65, 67)).map(lambda index: bytes([0x80 | index]))
put = st.builds(literal, st.sampled_from(NAMES[:2]), st.sampled_from(VALUES), kept=st.just(True))
sent = st.builds(literal, st.sampled_from(NAMES[:2]), st.sampled_from(VALUES[:3]), kept=st.just(False))
blocks = st.builds(
    lambda sizes, fields: b"".join(map(size_update, sizes)) + REQUEST + b"".join(fields),
    st.just([]) | st.lists(st.sampled_from(SIZES), min_size=1, max_size=2),
    st.lists(st.one_of(named, put, sent), max_size=2),
)
# A few blocks over and over, after some that fill the table.
sequences = st.tuples(
    st.lists(put.map(lambda field: REQUEST + field), max_size=4),
    st.lists(blocks, min_size=2, max_size=4).flatmap(
        lambda pool: st.lists(st.sampled_from(pool), min_size=3, max_size=16)
    ),
).map(lambda parts: [*parts[0], *parts[1]])


def read(reader: HeaderReader, block: bytes) -> RequestHead | int:
    try:
        return reader.request(block)
    except ConnectionBroken as error:
        return error.code


class WithoutMemory(HeaderReader):
    """Reads each block anew."""

    def request(self, block: bytes) -> RequestHead:
        self._heads.clear()
        return super().request(block)


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(sequences)
def test_a_remembered_block_says_what_its_bytes_say_by_then(sequence: Sequence[bytes]) -> None:
    reader, fresh = HeaderReader(LIMIT), WithoutMemory(LIMIT)
    for block in sequence:
        got, expected = read(reader, block), read(fresh, block)
        assert got == expected
        if isinstance(expected, int):
            return
        assert reader._decoder.header_table.dynamic_entries == fresh._decoder.header_table.dynamic_entries


requests_ = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES), st.booleans()).map(
        lambda each: hpack.NeverIndexedHeaderTuple(*each[:2]) if each[2] else hpack.HeaderTuple(*each[:2])
    ),
    max_size=4,
)


@given(
    st.lists(requests_, min_size=1, max_size=4).flatmap(lambda pool: st.lists(st.sampled_from(pool), max_size=30)),
    st.dictionaries(st.integers(0, 29), st.sampled_from((0, 100, 2000, 4096)), max_size=3),
)
def test_what_an_encoder_writes_is_read_as_it_was_meant(sent: Sequence[Any], sizes: dict[int, int]) -> None:
    encoder, reader = hpack.Encoder(), HeaderReader(LIMIT)
    for at, headers in enumerate(sent):
        if at in sizes:
            encoder.header_table_size = sizes[at]
        start = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
        head = reader.request(encoder.encode([*start, *headers]))
        cookies = [value for name, value in headers if name == b"cookie"]
        expected = [(bytes(name), bytes(value)) for name, value in headers]
        if len(cookies) > 1:
            expected = [*(each for each in expected if each[0] != b"cookie"), (b"cookie", b"; ".join(cookies))]
        assert head.headers == expected


def test_a_block_that_changes_nothing_is_read_once_and_forgotten_with_the_table() -> None:
    reader = HeaderReader(LIMIT)
    block = REQUEST + b"\xbe"
    reader.request(REQUEST + literal(b"authorization", b"one", kept=True))
    first = reader.request(block)
    assert reader.request(block) is first
    # Another caller, on the same connection: what comes from the table is another's now.
    reader.request(REQUEST + literal(b"authorization", b"two", kept=True))
    assert reader.request(block).headers == [(b"authorization", b"two")]
    assert first.headers == [(b"authorization", b"one")]


@pytest.mark.parametrize(
    ("before", "known", "change", "then"),
    [
        # An entry goes as another comes: as many as before.
        ((b"x" * 1900, b"y" * 1900), b"\xbe", literal(b"x-a", b"z" * 1900, kept=True), b"z" * 1900),
        # The oldest goes, as the table is smaller for a moment.
        ((b"one" * 300, b"two"), b"\xbf", None, None),
    ],
)
def test_a_change_that_leaves_the_table_alike_is_one(
    before: tuple[bytes, ...], known: bytes, change: bytes | None, then: bytes | None
) -> None:
    reader = HeaderReader(LIMIT)
    for value in before:
        reader.request(REQUEST + literal(b"x-a", value, kept=True))
    reader.request(REQUEST + known)
    if change is None:
        reader.request(size_update(100) + size_update(4096) + REQUEST)
        with pytest.raises(ConnectionBroken):
            reader.request(REQUEST + known)
    else:
        reader.request(REQUEST + change)
        assert reader.request(REQUEST + known).headers == [(b"x-a", then)]


def test_a_block_that_changes_the_table_does_so_each_time() -> None:
    reader = HeaderReader(LIMIT)
    block = REQUEST + literal(b"x-a", b"one", kept=True)
    for count in range(1, 4):
        reader.request(block)
        assert len(reader._decoder.header_table.dynamic_entries) == count


def test_a_size_that_is_set_again_is_set() -> None:
    reader = HeaderReader(LIMIT)
    for size in (1000, 4096, 1000):
        for _ in range(2):
            reader.request(size_update(size) + REQUEST)
            assert reader._decoder.header_table.maxsize == size


def test_trailers_that_change_the_table_count_as_well() -> None:
    reader = HeaderReader(LIMIT)
    reader.request(REQUEST + literal(b"x-a", b"one", kept=True))
    assert reader.request(REQUEST + b"\xbe").headers == [(b"x-a", b"one")]
    assert reader.fields(literal(b"x-a", b"two", kept=True)) == [(b"x-a", b"two")]
    assert reader.request(REQUEST + b"\xbe").headers == [(b"x-a", b"two")]


def test_what_is_remembered_is_bounded() -> None:
    reader = HeaderReader(LIMIT)
    for number in range(1000):
        reader.request(REQUEST + literal(b"x-a", b"%d" % number, kept=False))
        reader.request(REQUEST + literal(b"x-a", b"%5000d" % number, kept=False))
    assert len(reader._heads) <= http2_headers._REMEMBERED
    assert all(len(block) <= http2_headers._REMEMBERED_BLOCK_BYTES for block in reader._heads)


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (b"\x80", COMPRESSION_ERROR),
        (b"\xff\x80\x80\x80\x80\x80\x80\x01", COMPRESSION_ERROR),
        (b"\x00\x05ab", COMPRESSION_ERROR),
        (b"\x00", COMPRESSION_ERROR),
        (b"\x3f\xff\xff\x03", COMPRESSION_ERROR),
        (b"\x00\x81\xff\x00", COMPRESSION_ERROR),
        # A field of 3,900 bytes, named 200 times: more than is read.
        (literal(b"x", b"x" * 3900, kept=True) + b"\xbe" * 200, ENHANCE_YOUR_CALM),
    ],
)
def test_a_block_that_cannot_be_read_ends_the_connection(block: bytes, code: int) -> None:
    with pytest.raises(ConnectionBroken) as raised:
        HeaderReader(LIMIT).request(block)
    assert raised.value.code == code


GOOD = {b":method": b"POST", b":scheme": b"http", b":path": b"/a%20b?c=d", b":authority": b"a.example:80"}


def headed(more: Sequence[tuple[bytes, bytes]] = (), **changed: bytes | None) -> RequestHead:
    pseudo = {**GOOD, **{f":{name}".encode(): value for name, value in changed.items()}}
    fields = [*((name, value) for name, value in pseudo.items() if value is not None), *more]
    return HeaderReader(LIMIT).request(hpack.Encoder().encode(fields))


def test_a_request_is_read() -> None:
    head = headed([(b"te", b"trailers"), (b"x-a", b" a "), (b"content-length", b"12"), (b"cookie", b"a=1")])
    assert (head.method, head.path, head.raw_path, head.query, head.length) == ("POST", "/a b", b"/a%20b", b"c=d", 12)
    assert head.headers[0] == (b"host", b"a.example:80")
    assert (b"x-a", b"a") in head.headers
    assert not head.malformed


def test_a_host_stands_in_for_the_authority_and_may_repeat_it() -> None:
    assert headed([(b"host", b"b.example")], authority=None).headers == [(b"host", b"b.example")]
    assert headed([(b"x-a", b"1"), (b"host", GOOD[b":authority"])]).headers == [
        (b"host", GOOD[b":authority"]),
        (b"x-a", b"1"),
    ]
    assert headed(authority=None).headers == []


def test_cookies_in_pieces_are_put_together() -> None:
    head = headed([(b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2")])
    assert [each for each in head.headers if each[0] == b"cookie"] == [(b"cookie", b"a=1; b=2")]


@pytest.mark.parametrize(
    "changed",
    [
        {"method": None},
        {"method": b""},
        {"method": b"G T"},
        {"method": b"CONNECT"},
        {"scheme": None},
        {"scheme": b""},
        {"path": None},
        {"path": b""},
        {"path": b"a"},
        {"path": b"*"},
        {"path": b"/a b"},
        {"path": b"/a#b"},
        {"path": b"/\xc3\xbc"},
        {"path": b"http://a.example/"},
        {"authority": b"user@a.example"},
        {"authority": b"a.example/b"},
        {"authority": b"a b"},
        {"status": b"200"},
        {"protocol": b"websocket"},
    ],
)
def test_a_request_with_pseudo_headers_that_none_has_is_malformed(changed: Any) -> None:
    assert headed(**changed).malformed


@pytest.mark.parametrize(
    "more",
    [
        [(b"X-A", b"1")],
        [(b"", b"1")],
        [(b"x a", b"1")],
        [(b"x-a", b"1\r\nx-b: 2")],
        [(b"x-a", b"1\0")],
        [(b":path", b"/")],
        [(b"x-a", b"1"), (b":extra", b"/")],
        [(b"connection", b"close")],
        [(b"keep-alive", b"1")],
        [(b"proxy-connection", b"close")],
        [(b"transfer-encoding", b"chunked")],
        [(b"upgrade", b"h2c")],
        [(b"te", b"gzip")],
        [(b"te", b"trailers"), (b"te", b"trailers")],
        [(b"content-length", b"x")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"")],
        [(b"content-length", b"1"), (b"content-length", b"2")],
        [(b"content-length", b"9" * 30)],
        [(b"host", b"b.example")],
        [(b"host", b"a.example:80"), (b"host", b"a.example:80")],
    ],
)
def test_a_request_with_headers_that_none_has_is_malformed(more: Any) -> None:
    assert headed(more).malformed


def test_options_may_ask_of_everything() -> None:
    assert headed(method=b"OPTIONS", path=b"*").path == "*"


@pytest.mark.parametrize("status", [200, 201, 204, 206, 304, 400, 404, 418, 500, 599])
def test_what_is_written_is_read_as_it_was_meant(status: int) -> None:
    headers = [(b"X-A", b"one"), (b"x-long", b"y" * 10_000), (b"connection", b"close"), (b"x-126", b"z" * 126)]
    headers += [(b"x-127", b"z" * 127), (b"x-255", b"z" * 255), (b"x-a", b"")]
    for _ in range(2):
        decoder = hpack.Decoder()
        read = [tuple(each) for each in decoder.decode(status_field(status) + write_fields(headers), raw=True)]
        expected = [(name.lower(), value) for name, value in headers if name != b"connection"]
        assert read == [(b":status", b"%d" % status), *expected]
        assert not decoder.header_table.dynamic_entries


@pytest.mark.parametrize(
    "header", [(b"", b"a"), (b"a b", b"a"), (b":status", b"200"), (b"a", b"b\r\nc: d"), (b"a", b"\0")]
)
def test_what_is_no_header_is_not_written(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="header"):
        write_fields([header])


@pytest.mark.parametrize("status", [100, 199, 600, 0])
def test_what_is_no_final_status_is_not_written(status: int) -> None:
    with pytest.raises(KeyError):
        status_field(status)
