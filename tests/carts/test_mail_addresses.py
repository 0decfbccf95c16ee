"""Which addresses mail can be sent to, and in which form."""

import pytest

from carts.mail_addresses import InvalidMailAddress, MailAddress, mail_address


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("ada@example.org", "example.org"),
        ("ada@Example.ORG", "example.org"),
        ("ada@bücher.example", "xn--bcher-kva.example"),
        ("kunde@straße.de", "xn--strae-oqa.de"),
        ("ada@βόλος.com", "xn--nxasmm1c.com"),
        ("ada@例え.jp", "xn--r8jz45g.jp"),
        ("ada@localhost", "localhost"),
        ("ada@[192.0.2.1]", "[192.0.2.1]"),
        ("ada@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
    ],
)
def test_a_domain_in_any_script_has_its_ascii_form(text: str, domain: str) -> None:
    assert mail_address(text) == MailAddress("ada" if text.startswith("ada") else "kunde", domain)


@pytest.mark.parametrize(
    "text",
    [
        *("ada", "@example.org", "ada@", "a b@example.org", "ada@exa mple.org", "a@b@example.org"),
        *(
            "a@b..example",
            "ada@.example",
            "ada@example.",
            "ada@-b.example",
            "ada@b-.example",
            "ada@b_c.example",
        ),
        *("ada@192.0.2.1", "ada@[192.0.2]", "ada@[192.0.2.1", "ada@[IPv6:x]", "ada@xn--a.example"),
        *("a..b@example.org", ".a@example.org", "a.@example.org", '"a b"@example.org', "<a>@example.org"),
        *("ada@b,c", "ada@b>", "ada@example.org\n", "ada\u2028@example.org", "ada@exam\u202eple.org"),
        *("a" * 65 + "@example.org", "ada@" + "x" * 64 + ".org", "ada@" + ".".join(["x" * 60] * 5)),
    ],
)
def test_what_no_server_would_take_is_no_address(text: str) -> None:
    with pytest.raises(InvalidMailAddress, match="is no e-mail address"):
        mail_address(text)


def test_a_name_may_be_in_any_script() -> None:
    assert mail_address("zoë.müller+shop@example.org").local == "zoë.müller+shop"
