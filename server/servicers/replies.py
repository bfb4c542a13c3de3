"""Reply messages from the domain's values."""

from collections import OrderedDict
from collections.abc import Callable
from importlib import metadata
from typing import Generic, TypeVar, cast

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message
from zitadel import instance_pb2, object_pb2

from gateway import EncodedOnce
from server.domain.model import Instance, ObjectDetails

Reply = TypeVar("Reply", bound=Message)

# As many as there are instances in the store's cache, from which all but the first reply of each come.
REPLIES = 10_000

VERSION = metadata.version("instanced")


def set_details(message: object_pb2.ObjectDetails, details: ObjectDetails) -> None:
    """Translate details, into a message that stands in its place: one of its own would be copied, at twice the cost."""
    message.sequence = details.sequence
    message.resource_owner = details.resource_owner
    _set_timestamp(message.creation_date, details.creation_date)
    _set_timestamp(message.change_date, details.change_date)


def instance_detail(instance: Instance) -> instance_pb2.InstanceDetail:
    """Translate an instance; one that is stored is RUNNING."""
    detail = instance_pb2.InstanceDetail(
        id=instance.id,
        state=instance_pb2.STATE_RUNNING,
        name=instance.name,
        version=VERSION,
    )
    set_details(detail.details, instance.details)
    for domain in instance.domains:
        added = detail.domains.add(domain=domain.domain, primary=domain.primary, generated=domain.generated)
        set_details(added.details, domain.details)
    return detail


class InstanceReplies(Generic[Reply]):
    """The replies about instances, each made once: an instance that a commit changed is another value."""

    def __init__(self, make: Callable[[instance_pb2.InstanceDetail], Reply], size: int = REPLIES) -> None:
        self._make = make
        self._size = size
        # By identity, as comparing by value would cost more than making the reply; while the instance is kept here its
        # id is its own. In order of making, which is near enough to the order of use.
        self._known: OrderedDict[int, tuple[Instance, Reply]] = OrderedDict()

    def of(self, instance: Instance) -> Reply:
        """Return the reply about an instance, as an `EncodedOnce` under the type of what it stands for."""
        known = self._known.get(id(instance))
        if known is None:
            reply = cast("Reply", EncodedOnce(self._make(instance_detail(instance))))
            known = self._known[id(instance)] = (instance, reply)
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return known[1]


def _set_timestamp(message: timestamp_pb2.Timestamp, microseconds: int) -> None:
    message.seconds, rest = divmod(microseconds, 1_000_000)
    message.nanos = rest * 1000
