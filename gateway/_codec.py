"""The formats of a message: protobuf binary and proto3 JSON. A codec knows nothing of protocols or routes."""

from typing import Literal, Protocol, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from gateway._json import merge_json, parse_json
from gateway._json_writer import field_to_json, to_json
from gateway._status import invalid

UnknownFields: TypeAlias = Literal["refuse", "ignore"]


class Codec(Protocol):
    """What a format must be able to do."""

    name: str
    """As media types have it, after the plus sign."""

    native: bool
    """Whether its bytes are those of the servicers' own serializers, so that messages pass through as they are."""

    def decode(self, data: bytes, message: Message) -> None:
        """Merge encoded data into a message.

        Raises:
            Refused: INVALID_ARGUMENT.
        """

    def encode(self, message: Message) -> bytes:
        """Encode a message."""
        ...


class ProtobufCodec:
    """Protobuf binary: https://protobuf.dev/programming-guides/encoding/."""

    name = "proto"
    native = True

    def decode(self, data: bytes, message: Message) -> None:
        """See `Codec.decode`."""
        try:
            message.MergeFromString(data)
        except DecodeError:
            raise invalid(f"the message is not a valid {message.DESCRIPTOR.full_name}") from None

    def encode(self, message: Message) -> bytes:
        """See `Codec.encode`."""
        return message.SerializeToString()


class JSONCodec:
    """Proto3 JSON; what no field takes is refused, or dropped where `unknown_fields` is `ignore`."""

    name = "json"
    native = False

    def __init__(self, unknown_fields: UnknownFields) -> None:
        self.ignore_unknown = unknown_fields == "ignore"

    def decode(self, data: bytes, message: Message) -> None:
        """See `Codec.decode`."""
        merge_json(parse_json(data), message, ignore_unknown=self.ignore_unknown)

    def decode_field(self, data: bytes, message: Message, field: FieldDescriptor) -> None:
        """Merge the JSON of one field, of any kind, into the message that has the field."""
        value = parse_json(data)
        merge_json({field.json_name: value}, message, ignore_unknown=self.ignore_unknown)

    def encode(self, message: Message) -> bytes:
        """See `Codec.encode`."""
        return to_json(message)

    def encode_field(self, message: Message, field: FieldDescriptor) -> bytes:
        """Give the JSON of one field, its default (null for a well-known type) where it is not set."""
        return field_to_json(message, field)


def every_codec(unknown_fields: UnknownFields) -> tuple[Codec, ...]:
    """List the codecs that each protocol is spoken with; a new format is a class above and a place here."""
    return ProtobufCodec(), JSONCodec(unknown_fields)
