"""Every metric of the process `sinks mail` beside those of `delivery` and the dead letters."""

from prometheus_client import Counter, Gauge

MAILS = Counter(
    "cartstream_mail_sink_mails_total",
    "mails: `sent`, `put_off`, `refused`, `not_wanted` (the cart was taken up again, or "
    "its shopper has unsubscribed)",
    ("kind", "outcome"),
)
FAILURES = Counter(
    "cartstream_mail_sink_failures_total", "failures after which the mail process waits", ("error",)
)
WAITING = Gauge("cartstream_mail_sink_waiting_mails", "mails not sent yet, over all processes")
OLDEST_WAITING = Gauge("cartstream_mail_sink_oldest_waiting_seconds", "age of the oldest mail not sent yet")
