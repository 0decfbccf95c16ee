"""Settings of the process `sinks mail`, all from `CARTSTREAM_*`."""

from email.headerregistry import Address
from email.utils import parseaddr
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from delivery.settings import DeliverySettings
from store.postgres.settings import PostgresSettings
from topics.registry import ORDERS
from topics.settings import TopicSettings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class MailSinkSettings(DeliverySettings, TopicSettings, PostgresSettings):
    """The mail server, what mails say of the shop, and how patiently they are sent. Times in seconds."""

    max_record_bytes: int = Field(
        ORDERS.max_message_bytes,
        ge=1 << 16,
        description="largest record of `orders` it reads; as large as the topic takes, so that each one "
        "fits into the dead letters",
    )

    smtp_host: str = Field(
        "127.0.0.1",
        min_length=1,
        examples=["smtp.example.org"],
        description="the mail server that relays mails to any address",
    )
    smtp_port: int = Field(1025, ge=1, le=65535, examples=[587], description="its port")
    smtp_user: str | None = Field(
        None,
        examples=["cartstream"],
        description="together with `CARTSTREAM_SMTP_PASSWORD`; never sent unencrypted, except on loopback",
    )
    smtp_password: SecretStr | None = Field(None, examples=["secret"], description="its password")
    smtp_tls: Literal["none", "starttls", "tls"] = Field(
        "none", examples=["starttls"], description="`none`, `starttls` (port 587) or `tls` (port 465)"
    )
    smtp_timeout_s: float = Field(
        60.0, gt=0, le=600, examples=[60], description="for one mail, from connecting to the server's answer"
    )
    mail_from: str = Field(
        "orders@localhost",
        examples=["Cup & Co <orders@shop.example>"],
        description="such as `Cup & Co <orders@shop.example>`; its domain ends the Message-IDs",
    )
    shop_name: str = Field(
        "Cartstream demo shop",
        min_length=1,
        max_length=100,
        examples=["Cup & Co"],
        description="in subject and text",
    )
    mail_connections: int = Field(
        4,
        ge=1,
        le=64,
        examples=[4],
        description="mails sent at once: a slow answer for one does not keep the others",
    )
    mail_retry_s: float = Field(
        90.0,
        gt=0,
        le=3600,
        examples=[90],
        description="pause before the first retry, then doubled up to an hour. A mail whose sender has "
        "died is taken up after it, too. It must exceed the timeout",
    )
    mail_give_up_hours: float = Field(
        72.0, gt=0, le=720, examples=[72], description="a mail deferred for this long becomes a dead letter"
    )

    order_mails_per_day: int = Field(
        50,
        ge=1,
        le=100_000,
        examples=[50],
        description="most mails about orders to one address in a day (UTC); what is above is a dead letter, "
        "which `cartstream dlq replay` sends on another day",
    )

    @field_validator("mail_from")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        sender_of(value)
        return value

    @field_validator("shop_name")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("it must be one line of text")
        return value

    @model_validator(mode="after")
    def _retries_after_the_attempt(self) -> "MailSinkSettings":
        if self.mail_retry_s <= self.smtp_timeout_s:
            raise ValueError(
                f"CARTSTREAM_MAIL_RETRY_S: {self.mail_retry_s:g} is not above CARTSTREAM_SMTP_TIMEOUT_S: a "
                "mail could be sent while it is being sent. "
                f"A right value: CARTSTREAM_MAIL_RETRY_S={self.smtp_timeout_s + 30:g}"
            )
        return self

    @model_validator(mode="after")
    def _keeps_the_password(self) -> "MailSinkSettings":
        if (self.smtp_user is None) != (self.smtp_password is None):
            raise ValueError(
                "CARTSTREAM_SMTP_USER and CARTSTREAM_SMTP_PASSWORD belong together, "
                "e.g. cartstream and secret"
            )
        if self.smtp_user and self.smtp_tls == "none" and self.smtp_host not in _LOOPBACK:
            raise ValueError(
                "CARTSTREAM_SMTP_TLS: with none the password would be sent in the clear. "
                "A right value: CARTSTREAM_SMTP_TLS=starttls"
            )
        return self

    @property
    def sender(self) -> Address:
        """Who the mails are from; by the shop's name unless the setting says another one."""
        address = sender_of(self.mail_from)
        return Address(address.display_name or self.shop_name, address.username, address.domain)


def sender_of(text: str) -> Address:
    """The address in `mail_from`. Raises ValueError."""
    name, spec = parseaddr(text)
    try:
        address = Address(name, addr_spec=spec)
    except Exception as error:  # the parser of the standard library raises IndexError and its own errors
        raise ValueError(f"{text!r} is no mail address") from error
    if not address.domain or not text.isprintable():
        raise ValueError(f"{text!r} is no mail address")
    return address
