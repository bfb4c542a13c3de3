"""The small parts that read what comes over the wire, each by itself."""

import base64
import gzip

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._base64_stream import Base64Decoder, decode
from gateway._compression import decompress, gzipped
from gateway._envelope import FrameReader, pack, read_one
from gateway._metadata import checked_metadata, read_metadata, reply_headers, wire_pairs
from gateway._status import Refused
from gateway._timeout import parse_timeout


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"0S", 0.0),
        (b"99999999H", 99999999 * 3600.0),
    ],
)
def test_timeout_of_the_specification_is_read(value: bytes, seconds: float) -> None:
    assert parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [b"", b"S", b"1", b"1s", b"1h", b"-1S", b"+1S", b"1.5S", b" 1S", b"1 S", b"100000000S", b"1S\n", b"\xb2S", b"1SS"],
)
def test_malformed_timeout_is_invalid(value: bytes) -> None:
    with pytest.raises(Refused) as raised:
        parse_timeout(value)
    assert raised.value.status.code is grpc.StatusCode.INVALID_ARGUMENT


# Frames.


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(min_value=1, max_value=7))
def test_frames_are_the_same_however_they_are_cut(messages: list[bytes], size: int) -> None:
    body = b"".join(map(pack, messages))
    reader = FrameReader(20)
    frames = [each for at in range(0, len(body), size) for each in reader.feed(body[at : at + size])]
    reader.finish()
    assert frames == [(0, message) for message in messages]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", grpc.StatusCode.UNIMPLEMENTED),
        (b"\0", grpc.StatusCode.INTERNAL),
        (b"\0\0\0\0", grpc.StatusCode.INTERNAL),
        (b"\0\0\0\0\2a", grpc.StatusCode.INTERNAL),
        (b"\0\0\0\0\1a\0", grpc.StatusCode.UNIMPLEMENTED),
        (b"\0\0\0\0\1a\0\0\0\0\0", grpc.StatusCode.UNIMPLEMENTED),
        (b"\2\0\0\0\0", grpc.StatusCode.INTERNAL),
        (b"\x80\0\0\0\0", grpc.StatusCode.INTERNAL),
        (b"\0\0\0\0\x0b", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (b"\0\xff\xff\xff\xff", grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_body_without_exactly_one_whole_frame_is_refused(body: bytes, code: grpc.StatusCode) -> None:
    with pytest.raises(Refused) as raised:
        read_one(body, 10)
    assert raised.value.status.code is code


def test_body_with_one_frame_gives_its_message() -> None:
    assert read_one(b"\0\0\0\0\2ab", 2) == (0, b"ab")
    assert read_one(b"\1\0\0\0\0", 2) == (1, b"")


# Base64.


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(min_value=1, max_value=9))
def test_base64_with_padding_inside_is_the_same_however_it_is_cut(pieces: list[bytes], size: int) -> None:
    body = b"".join(map(base64.b64encode, pieces))
    decoder = Base64Decoder()
    decoded = b"".join(decoder.feed(body[at : at + size]) for at in range(0, len(body), size)) + decoder.finish()
    assert decoded == b"".join(pieces)


@given(st.binary(max_size=20))
def test_base64_may_lack_its_padding_at_the_end(data: bytes) -> None:
    assert decode(base64.b64encode(data).rstrip(b"=")) == data


@pytest.mark.parametrize(
    "body", [b"a", b"=", b"====", b"YQ=a", b"Y===", b"YW=j", b"Y Q=", b"YQ-_", b"\xff" * 4, b"=YQ="]
)
def test_what_is_not_base64_is_invalid(body: bytes) -> None:
    with pytest.raises(Refused) as raised:
        decode(body)
    assert raised.value.status.code is grpc.StatusCode.INVALID_ARGUMENT


# Compression.


def test_compressed_message_is_read() -> None:
    assert decompress(gzip.compress(b"abc"), b"gzip", 3) == b"abc"
    assert gzip.decompress(gzipped(b"abc")) == b"abc"


@pytest.mark.parametrize(
    ("data", "encoding", "code"),
    [
        (b"abc", b"identity", grpc.StatusCode.INTERNAL),
        (b"abc", b"gzip", grpc.StatusCode.INTERNAL),
        (b"", b"gzip", grpc.StatusCode.INTERNAL),
        (gzip.compress(b"abc")[:-4], b"gzip", grpc.StatusCode.INTERNAL),
        (gzip.compress(b"a" * 100_000), b"gzip", grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_compressed_message_that_cannot_be_read_is_refused(data: bytes, encoding: bytes, code: grpc.StatusCode) -> None:
    with pytest.raises(Refused) as raised:
        decompress(data, encoding, 1000)
    assert raised.value.status.code is code


# Metadata.


def test_headers_become_metadata_without_those_of_the_connection_and_the_protocol() -> None:
    metadata, problem = read_metadata(
        [
            (b"Host", b"a.test:1"),
            (b"X-One", b"1"),
            (b"x-one", b"2"),
            (b"authorization", b"Bearer x"),
            (b"user-agent", b"u"),
            (b"connection", b"close"),
            (b"te", b"trailers"),
            (b"transfer-encoding", b"chunked"),
            (b"content-type", b"application/json"),
            (b"content-length", b"1"),
            (b"grpc-timeout", b"1S"),
            (b"grpc-encoding", b"gzip"),
            (b":authority", b"b.test"),
            (b":path", b"/"),
        ]
    )
    assert problem is None
    assert metadata == (
        (":authority", "a.test:1"),
        ("x-one", "1"),
        ("x-one", "2"),
        ("authorization", "Bearer x"),
        ("user-agent", "u"),
    )


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        (b"", [b""]),
        (b"YQ==", [b"a"]),
        (b"YQ", [b"a"]),
        (b"YWI", [b"ab"]),
        (b"YQ, Yg==", [b"a", b"b"]),
        (b"/+8", [b"\xff\xef"]),
    ],
)
def test_binary_metadata_is_decoded_with_and_without_padding(value: bytes, decoded: list[bytes]) -> None:
    assert read_metadata([(b"x-bin", value)]) == (tuple(("x-bin", each) for each in decoded), None)


@pytest.mark.parametrize("value", [b"a", b"Y Q=", b"YQ===", b"*", b"\xff"])
def test_malformed_binary_metadata_is_invalid_and_left_out(value: bytes) -> None:
    metadata, problem = read_metadata([(b"x-bin", value), (b"y", b"1")])
    assert metadata == (("y", "1"),)
    assert problem is not None
    assert problem.status.code is grpc.StatusCode.INVALID_ARGUMENT


def test_two_hosts_are_invalid() -> None:
    metadata, problem = read_metadata([(b"host", b"a"), (b"host", b"b")])
    assert metadata == ((":authority", "a"),)
    assert problem is not None


@given(st.lists(st.tuples(st.binary(max_size=100), st.binary(max_size=20))))
def test_any_bytes_in_headers_are_read_without_an_error(headers: list[tuple[bytes, bytes]]) -> None:
    metadata, _ = read_metadata(headers)
    assert not any(key.startswith(":") and key != ":authority" for key, _ in metadata)


@pytest.mark.parametrize(
    "pair",
    [
        ("a b", "1"),
        ("", "1"),
        ("a:", "1"),
        ("a\r\nb", "1"),
        ("a", "1\r\nset-cookie: x"),
        ("a", "1\n"),
        ("a", "é"),
        ("é", "1"),
        ("a", "\0"),
    ],
)
def test_metadata_that_http_cannot_carry_is_an_error(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        checked_metadata([pair])


def test_metadata_goes_out_in_lower_case_and_binary_without_padding() -> None:
    checked = checked_metadata([("X-One", "1"), ("x-bin", b"a"), ("y-bin", "b"), ("z", b"2")])
    assert wire_pairs(checked) == [(b"x-one", b"1"), (b"x-bin", b"YQ"), (b"y-bin", b"Yg"), (b"z", b"2")]


def test_metadata_does_not_replace_what_a_reply_says_of_itself() -> None:
    names = (
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "grpc-status",
        "access-control-allow-origin",
    )
    assert reply_headers(checked_metadata([(name, "1") for name in names])) == []
    assert reply_headers(checked_metadata([("set-cookie", "1"), ("x", "2")]), "p-") == [
        (b"p-set-cookie", b"1"),
        (b"p-x", b"2"),
    ]
