"""What stops the start: a mistake of whoever runs the server, told so that they can mend it."""


class ConfigurationError(Exception):
    """A setting, a key or a command line cannot be used.

    `where` is its path in the configuration (`SystemAPIUsers.admin.KeyData`) or the file or flag; the message starts
    with it and says what to write instead. It never holds key material.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem
