"""A request message as the plain fields that a command is parsed from."""

from google.protobuf.message import Message


def fields(message: Message) -> dict[str, object]:
    """Return the fields by their .proto names; messages are dicts, and one that is not set is absent."""
    return {
        descriptor.name: fields(value) if isinstance(value, Message) else value
        for descriptor in message.DESCRIPTOR.fields
        if descriptor.message_type is None or message.HasField(descriptor.name)
        for value in [getattr(message, descriptor.name)]
    }
