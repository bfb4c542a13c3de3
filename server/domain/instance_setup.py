"""What follows from AddInstance: a new instance."""

from dataclasses import dataclass

from server.domain.commands import AddInstance
from server.domain.decisions import Registry
from server.domain.errors import DomainTaken
from server.domain.names import generate_domain
from server.domain.new_instance import NewInstance


@dataclass(frozen=True, slots=True)
class InstanceSetup:
    """A checked AddInstance and the hash of its password; hashing would take too long in a write transaction."""

    request: AddInstance
    password_hash: str | None
    external_domain: str

    def decide(self, registry: Registry) -> NewInstance:
        """Return the new instance; raise DomainTaken where its custom domain belongs to another."""
        request = self.request
        custom, profile, email = request.custom_domain, request.owner_profile, request.owner_email
        if custom and registry.has_domain(custom):
            raise DomainTaken(custom)
        generated = self._draw_domain(registry)
        return NewInstance(
            instance_id=registry.draw_id(),
            organization_id=registry.draw_id(),
            owner_id=registry.draw_id(),
            name=request.instance_name,
            default_language=request.default_language,
            generated_domain=generated,
            custom_domain=custom,
            organization_name=request.first_org_name,
            user_name=request.owner_user_name,
            display_name=f"{profile.first_name} {profile.last_name}".strip() or request.owner_user_name,
            first_name=profile.first_name,
            last_name=profile.last_name,
            preferred_language=profile.preferred_language or request.default_language,
            email=email.email,
            email_verified=email.is_email_verified,
            password_hash=self.password_hash,
            password_change_required=self.password_hash is not None and request.owner_password.password_change_required,
        )

    def _draw_domain(self, registry: Registry) -> str:
        while True:
            domain = generate_domain(self.request.instance_name, external_domain=self.external_domain)
            if domain != self.request.custom_domain and not registry.has_drawn_domain(domain):
                return domain
