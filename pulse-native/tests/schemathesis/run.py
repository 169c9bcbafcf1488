"""Plays requests made out of the description of the HTTP API against a server, and counts what became of them.

    PULSE_API_KEY=KEY python run.py http://127.0.0.1:PORT FOLDER

Ends with `api: N passed, M failed` and 0 only if none failed and each method has done a fair number. FOLDER is for what
schemathesis reports.
"""

import base64
import collections
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
# Requests of each method that have to be done: fewer would mean that the description hardly allows any.
DONE_AT_LEAST = 20


class Member:
    """A client in the channels of the description's examples, so that answers about them are not empty."""

    def __init__(self, url):
        place = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((place.hostname, place.port), timeout=20)
        self.stream = self.socket.makefile("rb")
        self.socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Protocol: pulse.v1.json\r\n\r\n".encode()
        )
        status = self.stream.readline()
        assert b" 101 " in status, f"the server does not take a client: {status}"
        while self.stream.readline() != b"\r\n":
            pass
        self.send({"type": "connect", "version": 1})
        for number, channel in enumerate(["news", "chat:lobby"]):
            self.send({"type": "subscribe", "id": 2 * number + 1, "channel": channel})
            data = {"name": channel}
            self.send({"type": "presence", "id": 2 * number + 2, "channel": channel, "action": 0, "data": data})
        waiting = {1, 2, 3, 4}
        while waiting:
            for line in self.message().decode().splitlines():
                frame = json.loads(line)
                assert frame["type"] != "error", f"the client is refused: {frame}"
                if frame["type"] == "ack":
                    waiting.discard(frame["id"])
        # From here on what comes is only taken, or the server would think the client too slow.
        self.socket.settimeout(None)
        threading.Thread(target=self.take, daemon=True).start()

    def send(self, frame):
        text = json.dumps(frame).encode() + b"\n"
        assert len(text) < 126, "a length of one byte is all that this client knows"
        # A mask of zeros leaves the text as it is.
        self.socket.sendall(struct.pack("!BB4x", 0x81, 0x80 | len(text)) + text)

    def message(self):
        length = self.stream.read(2)[1]
        if length >= 126:
            size, form = (2, "!H") if length == 126 else (8, "!Q")
            (length,) = struct.unpack(form, self.stream.read(size))
        return self.stream.read(length)

    def take(self):
        while self.stream.read(65536):
            pass


def count(report):
    """Of each method: the requests that were right and done, all of them, and those that a check has failed for."""
    counts = collections.defaultdict(lambda: [0, 0, 0])
    for line in report.read_text().splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        if scenario is None:
            continue
        record = scenario["recorder"]
        row = counts[record["label"].rsplit("/", 1)[-1]]
        for name, interaction in record["interactions"].items():
            meta = record["cases"].get(name, {}).get("value", {}).get("meta")
            positive = meta is not None and meta["generation"]["mode"] == "positive"
            response = interaction["response"]
            row[0] += positive and response is not None and response["status_code"] == 200
            row[1] += 1
            row[2] += any(check["status"] == "failure" for check in record["checks"].get(name, []))
    return counts


def main():
    url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.ndjson"
    report.unlink(missing_ok=True)
    member = Member(url)
    schemathesis = pathlib.Path(sys.executable).with_name("schemathesis")
    options = ["--config-file", HERE / "schemathesis.toml", "run", f"{url}/api/v1/openapi.json"]
    options += ["--checks", "all", "--report-ndjson-path", report, "--no-color"]
    environment = os.environ | {"PULSE_API_HOOKS": str(HERE / "checks.py")}
    run = subprocess.run([schemathesis, *options], cwd=folder, env=environment, check=False)

    counts = count(report)
    print(f"{'method':<16}{'done':>6}{'of all':>8}{'failed':>8}")
    for method, row in sorted(counts.items()):
        print(f"{method:<16}{row[0]:>6}{row[1]:>8}{row[2]:>8}")
    total, failed = (sum(row[column] for row in counts.values()) for column in (1, 2))
    few = [method for method, row in counts.items() if row[0] < DONE_AT_LEAST]
    for method in few:
        print(f"{method}: fewer than {DONE_AT_LEAST} requests that the description allows were made and done")
    failed += len(few)
    if run.returncode != 0 and failed == 0:
        print("schemathesis is not content; what it says stands above")
        failed = 1
    print(f"api: {total - failed} passed, {failed} failed")
    sys.exit(failed != 0)


main()
