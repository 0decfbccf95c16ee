"""The pages of the mailbox. Pure: whatever a mail contains is text here, or locked into a frame."""

from collections.abc import Sequence
from html import escape
from typing import Final

from devstack.mailbox.messages import Message, Summary

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy of every page; the frame of a mail inherits it: no script, nothing fetched."""

_STYLE: Final = """
:root { color-scheme: light dark }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1rem; font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.4rem; margin: 0 0 1rem }
table { width: 100%; border-collapse: collapse }
th { text-align: left; font-weight: 600; opacity: .6 }
th, td { padding: .5rem .75rem .5rem 0; border-bottom: 1px solid #8883; vertical-align: top }
td.narrow, th.narrow { white-space: nowrap; width: 1% }
a { color: inherit }
iframe { width: 100%; height: 32rem; border: 1px solid #8883; border-radius: 8px; background: #fff }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: 1rem }
pre { border: 1px solid #8883; border-radius: 8px }
.quiet { opacity: .6 }
"""


def list_page(mails: Sequence[Summary]) -> str:
    """The list, newest first; it renews itself."""
    if not mails:
        return _page("Mailbox", '<p class="quiet">No mail yet. Place an order with an e-mail address.</p>', 5)
    head = '<tr><th class="narrow">Received (UTC)</th><th>To</th><th>Subject</th></tr>'
    return _page("Mailbox", f"<table>{head}{''.join(_row(mail) for mail in mails)}</table>", 5)


def mail_page(message: Message) -> str:
    """One mail: headers, how it looks, its text."""
    subject = dict(message.headers).get("Subject", "")
    headers = "".join(
        f'<tr><th class="narrow">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in message.headers
    )
    html = (
        f'<h2>HTML</h2><iframe sandbox title="The mail" srcdoc="{escape(message.html)}"></iframe>'
        if message.html
        else ""
    )
    text = f"<h2>Text</h2><pre>{escape(message.text)}</pre>" if message.text else ""
    links = f'<p><a href="/">All mails</a> &middot; <a href="/mails/{escape(message.id)}.eml">Source</a></p>'
    return _page(subject or "(no subject)", f"{links}<table>{headers}</table>{html}{text}")


def plain_page(title: str, text: str) -> str:
    """A page that says one thing."""
    return _page(title, f"<p>{escape(text)}</p>")


def _row(mail: Summary) -> str:
    copies = f' <span class="quiet">({mail.copies} copies)</span>' if mail.copies > 1 else ""
    subject = escape(mail.subject) or "(no subject)"
    return (
        f'<tr><td class="narrow">{mail.received:%Y-%m-%d %H:%M:%S}</td><td>{escape(mail.recipient)}</td>'
        f'<td><a href="/mails/{escape(mail.id)}">{subject}</a>{copies}</td></tr>'
    )


def _page(title: str, body: str, renew_s: int = 0) -> str:
    renew = f'<meta http-equiv="refresh" content="{renew_s}">' if renew_s else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{renew}'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
