"""Reply messages from the domain's values."""

from importlib import metadata

from google.protobuf import timestamp_pb2
from zitadel import instance_pb2, object_pb2

from server.domain.model import Domain, Instance, ObjectDetails

VERSION = metadata.version("instanced")


def object_details(details: ObjectDetails) -> object_pb2.ObjectDetails:
    """Translate details."""
    return object_pb2.ObjectDetails(
        sequence=details.sequence,
        creation_date=_timestamp(details.creation_date),
        change_date=_timestamp(details.change_date),
        resource_owner=details.resource_owner,
    )


def instance_detail(instance: Instance) -> instance_pb2.InstanceDetail:
    """Translate an instance; one that is stored is RUNNING."""
    return instance_pb2.InstanceDetail(
        id=instance.id,
        details=object_details(instance.details),
        state=instance_pb2.STATE_RUNNING,
        name=instance.name,
        version=VERSION,
        domains=[_domain(domain) for domain in instance.domains],
    )


def _domain(domain: Domain) -> instance_pb2.Domain:
    return instance_pb2.Domain(
        details=object_details(domain.details),
        domain=domain.domain,
        primary=domain.primary,
        generated=domain.generated,
    )


def _timestamp(microseconds: int) -> timestamp_pb2.Timestamp:
    seconds, rest = divmod(microseconds, 1_000_000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=rest * 1000)
