"""The least that a Faust worker can cost: an agent that does nothing, on Faust's own consumer.

`python -m benchmarks.empty_agent BOOTSTRAP TOPIC GROUP COUNT FOLDER` takes the events of a
topic that has so many, commits, and prints one line of JSON.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import faust
import uvloop

from runtime.garbage import collect_seldom

RAW: dict[str, Any] = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
}


def main() -> None:
    """Take the events that the arguments name."""
    bootstrap, topic, group, count, folder = sys.argv[1:]
    app = faust.App(
        group,
        broker=[f"kafka://{server}" for server in bootstrap.split(",")],
        store="memory://",
        datadir=Path(folder),
        consumer_auto_offset_reset="earliest",
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )

    @app.agent(app.topic(topic, **RAW))
    async def nothing(stream: Any) -> None:
        seen, started, cpu = 0, 0.0, 0.0
        ends: dict[int, int] = {}
        async for event in stream.events():
            if not seen:
                started, cpu = time.perf_counter(), time.process_time()
            seen += 1
            # By offsets: Faust may leave a record out.
            ends[event.message.partition] = event.message.offset + 1
            if sum(ends.values()) == int(count):
                await app.consumer.commit()
                seconds, spent = time.perf_counter() - started, time.process_time() - cpu
                print(json.dumps({"events_per_s": seen / seconds, "cpu_us_per_event": spent / seen * 1e6}))
                sys.stdout.flush()
                # Faust's own stop takes seconds, and nobody measures it.
                os._exit(0)

    async def work() -> None:
        await app.start()
        await asyncio.Event().wait()

    collect_seldom()
    uvloop.run(work())


if __name__ == "__main__":
    main()
