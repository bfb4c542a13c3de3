"""What follows from AddInstance: the events of a new instance, in their order."""

from dataclasses import dataclass
from typing import Final

from server.domain.commands import AddInstance
from server.domain.decisions import Decision, NewEvent, Registry
from server.domain.errors import DomainTaken
from server.domain.events import (
    DomainAdded,
    DomainPrimarySet,
    HumanAdded,
    InstanceAdded,
    InstanceMemberAdded,
    OrganizationAdded,
    OrganizationMemberAdded,
)
from server.domain.names import generate_domain

IAM_OWNER: Final = "IAM_OWNER"
ORG_OWNER: Final = "ORG_OWNER"


@dataclass(frozen=True, slots=True)
class InstanceSetup:
    """A checked AddInstance and the hash of its password; hashing would take too long in a write transaction."""

    request: AddInstance
    password_hash: str | None
    external_domain: str

    def decide(self, registry: Registry) -> Decision:
        """Return the events of the new instance; raise DomainTaken where its custom domain belongs to another."""
        custom = self.request.custom_domain
        if custom and registry.has_domain(custom):
            raise DomainTaken(custom)
        generated = self._draw_domain(registry)
        instance, organization, owner = registry.draw_id(), registry.draw_id(), registry.draw_id()

        events = [
            NewEvent(
                instance, InstanceAdded(name=self.request.instance_name, default_language=self.request.default_language)
            ),
            NewEvent(instance, DomainAdded(domain=generated, generated=True)),
            NewEvent(instance, DomainPrimarySet(domain=generated)),
        ]
        if custom:
            events += [
                NewEvent(instance, DomainAdded(domain=custom, generated=False)),
                NewEvent(instance, DomainPrimarySet(domain=custom)),
            ]
        events += [
            NewEvent(organization, OrganizationAdded(name=self.request.first_org_name)),
            NewEvent(owner, self._owner(organization)),
            NewEvent(instance, InstanceMemberAdded(user_id=owner, roles=(IAM_OWNER,))),
            NewEvent(organization, OrganizationMemberAdded(user_id=owner, roles=(ORG_OWNER,))),
        ]
        return Decision(instance, events)

    def _draw_domain(self, registry: Registry) -> str:
        while True:
            domain = generate_domain(self.request.instance_name, external_domain=self.external_domain)
            if domain != self.request.custom_domain and not registry.has_domain(domain):
                return domain

    def _owner(self, organization: str) -> HumanAdded:
        profile, email = self.request.owner_profile, self.request.owner_email
        return HumanAdded(
            organization_id=organization,
            user_name=self.request.owner_user_name,
            display_name=f"{profile.first_name} {profile.last_name}".strip() or self.request.owner_user_name,
            first_name=profile.first_name,
            last_name=profile.last_name,
            preferred_language=profile.preferred_language or self.request.default_language,
            email=email.email,
            email_verified=email.is_email_verified,
            password_hash=self.password_hash,
            password_change_required=self.password_hash is not None
            and self.request.owner_password.password_change_required,
        )
