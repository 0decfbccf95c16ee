"""Every metric of the process `sinks mail` beside those of `delivery` and the dead letters."""

from prometheus_client import Counter, Gauge

MAILS = Counter(
    "cartstream_mail_sink_mails_total", "Mails by kind and what became of them", ("kind", "outcome")
)
FAILURES = Counter(
    "cartstream_mail_sink_failures_total", "Failures that made the mail agent wait", ("error",)
)
WAITING = Gauge("cartstream_mail_sink_waiting_mails", "Mails not sent yet, in all processes together")
OLDEST_WAITING = Gauge("cartstream_mail_sink_oldest_waiting_seconds", "Age of the oldest mail not sent yet")
