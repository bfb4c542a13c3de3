"""A registry in memory, for commands that decide without a store."""

from dataclasses import dataclass, field

import pytest


@dataclass
class MemoryRegistry:
    """What `server.domain.decisions.Registry` asks for; the first `clashes` domains asked about are taken."""

    taken: set[str] = field(default_factory=set)
    clashes: int = 0
    drawn: int = 0

    def draw_id(self) -> str:
        self.drawn += 1
        return str(self.drawn)

    def has_domain(self, domain: str) -> bool:
        if self.clashes:
            self.clashes -= 1
            return True
        return domain in self.taken

    def has_drawn_domain(self, domain: str) -> bool:
        return self.has_domain(domain)


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()
