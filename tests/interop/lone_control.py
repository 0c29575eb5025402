"""A control process to be killed: `python lone_control.py FOLDER FIRST_PORT LAST_PORT`, far ends' ports as a JSON list on standard input.

It opens a stream to each, recorded into FOLDER, says `{"pid", "ports"}` of the media process, and waits.
"""

from __future__ import annotations

import asyncio
import json
import sys

from active_call.base.world import SystemClock
from active_call.media.link.messages import ConfigureRtp
from active_call.media.pool.pool import MediaPool


async def main(folder: str) -> None:
    pool = MediaPool(n_workers=1, bind_ip="127.0.0.1", port_range=(int(sys.argv[2]), int(sys.argv[3])), clock=SystemClock(), capacity=64)
    await pool.start()
    ports = []
    for index, remote_port in enumerate(json.loads(sys.stdin.readline())):
        stream = await pool.open_stream(lambda report: None)
        stream.configure(
            ConfigureRtp(
                stream=stream.stream,
                remote_ip="127.0.0.1",
                remote_port=remote_port,
                codec="pcmu",
                send_payload_type=0,
                receive_payload_type=0,
            )
        )
        stream.start_recording(f"{folder}/{index}.wav", 8000)
        ports.append(stream.port)
    print(json.dumps({"pid": pool.workers[0].pid, "ports": ports}), flush=True)
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))
