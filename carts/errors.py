"""What the domain refuses, each with a sentence that tells the caller what to do."""


class CartError(Exception):
    """The domain refused a value or a change."""


class InvalidIdentifier(CartError):
    """A cart, product, line or operation id that does not follow its grammar."""

    def __init__(self, what: str, value: str, advice: str) -> None:
        self.what = what
        self.value = value
        self.advice = advice
        super().__init__(f"{what} {value[:140]!r} is not valid: {advice}")
