"""Why there is no figure."""


class Absent(Exception):
    """A contender cannot be run here; the message says what is missing."""


class Failed(Exception):
    """A contender is all there and does not do what it should; the message says what it does."""


class Void(Exception):
    """A run does not count; the message says why."""
