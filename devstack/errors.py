"""What can go wrong with the embedded stack; every message says what to do about it."""


class StackError(Exception):
    """The stack cannot do what was asked; a retry helps only after the cause in the message is mended."""


class PortTakenError(StackError):
    """Another program listens on a port that a component needs."""


class AlreadyRunningError(StackError):
    """A supervisor already owns this data folder."""


class MissingProgramError(StackError):
    """A program or package that the stack is built from is not installed."""


class ComponentFailedError(StackError):
    """A component did not become ready; the message ends with its last log lines."""
