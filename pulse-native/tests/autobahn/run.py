"""Plays the Autobahn cases against a WebSocket server that echoes, one connection a case.

    python run.py FOLDER URL [PATTERN...]

FOLDER is what prepare.py made. A pattern picks cases by number (`6.*`); without one, all of them are played. Prints
the tally and each case that is not plainly right; exits with 1 if one failed, was closed wrongly or was not played.
"""

import fnmatch
import importlib
import re
import sys
import time
from collections import Counter
from pathlib import Path

from latin1 import to_bytes, to_text

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor

# Groups 1 to 7, 9 and 10 of version 25.10.1: a case lost in translation shall not go unnoticed.
ALL_CASES = 301
# No case waits for longer than some seconds on a server that answers; all of them together take about 40.
TIME_LIMIT_S = 900

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
GOOD_CLOSE = {"OK", "INFORMATIONAL"}


class Player(WebSocketClientProtocol):
    """One connection, playing one case: what the cases call is here or in autobahn, which is given bytes."""

    def __init__(self, case):
        super().__init__()
        self.connectionWasOpen = False
        self.txFrameStats = Counter()
        self.case = case(self)

    # Events.

    def onOpen(self):
        self.connectionWasOpen = True
        self.case.onOpen()

    def onMessage(self, payload, isBinary):
        self.case.onMessage(to_text(payload), isBinary)

    def onPong(self, payload):
        self.case.onPong(to_text(payload))

    def onClose(self, wasClean, code, reason):
        self.case.onClose(wasClean, code, reason)

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.case.onConnectionLost(self.failedByMe)

    # Sending.

    def sendFrame(self, opcode, payload=b"", **options):
        self.txFrameStats[opcode] += 1
        super().sendFrame(opcode, payload=to_bytes(payload), **options)

    def sendMessage(self, payload, isBinary=False, **options):
        super().sendMessage(to_bytes(payload), isBinary, **options)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(to_bytes(payload), sync)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, None if reasonUtf8 is None else to_bytes(reasonUtf8), isReply)

    # Time.

    def continueLater(self, delay, function, tag=None):
        self._unless_closed(delay, function)

    def killAfter(self, delay):
        self._unless_closed(delay, self._fail_connection)

    def closeAfter(self, delay):
        self._unless_closed(delay, self.sendClose)

    def _unless_closed(self, delay, function):
        reactor.callLater(delay, lambda: self.state == self.STATE_CLOSED or function())

    # The suite's own log of what went over the wire, which is not kept here.

    def enableWirelog(self, enable):
        pass


class Match(WebSocketClientFactory):
    """Plays the cases one after the other and keeps their outcomes."""

    noisy = False

    def __init__(self, url, cases):
        super().__init__(url)
        # A client that finds a fault closes with a code, as the specification asks.
        # autobahn gives a server one second to answer a close and to end the connection, which a busy machine may take by itself.
        self.setProtocolOptions(failByDrop=False, closeHandshakeTimeout=10, serverConnectionDropTimeout=10)
        self.cases = cases
        self.played = []
        self.trouble = None

    def buildProtocol(self, addr):
        player = Player(self.cases[len(self.played)][1])
        player.factory = self
        self.played.append(player.case)
        return player

    def clientConnectionLost(self, connector, reason):
        if len(self.played) < len(self.cases):
            connector.connect()
        else:
            reactor.stop()

    def clientConnectionFailed(self, connector, reason):
        self.trouble = f"cannot connect: {reason.getErrorMessage()}"
        reactor.stop()

    def give_up(self):
        self.trouble = f"not finished after {TIME_LIMIT_S} s"
        reactor.stop()


def load(folder):
    """All cases in the order of their numbers: (number, class)."""
    sys.path.insert(0, str(folder))
    found = {}
    for file in (Path(folder) / "cases").glob("case?*.py"):
        module = importlib.import_module(f"cases.{file.stem}")
        for value in vars(module).values():
            # Some modules make their classes in a loop and keep them in a list.
            for item in value if isinstance(value, list) else [value]:
                name = re.fullmatch(r"Case(\d+(?:_\d+)+)", getattr(item, "__name__", ""))
                if name:
                    found[tuple(int(part) for part in name[1].split("_"))] = item
    return [(".".join(map(str, number)), found[number]) for number in sorted(found)]


def report(match, seconds):
    """Prints the outcome; true if all is well."""
    outcomes = [(number, case) for (number, _), case in zip(match.cases, match.played)]
    bad = [case for _, case in outcomes if case.behavior not in GOOD or case.behaviorClose not in GOOD_CLOSE]
    for number, case in outcomes:
        if case.behavior != "OK" or case.behaviorClose != "OK":
            print(f"  {number:8} {case.behavior}: {case.result} Close {case.behaviorClose}: {case.resultClose}")
    tally = Counter(case.behavior for _, case in outcomes)
    closes = Counter(case.behaviorClose for _, case in outcomes)
    print(f"{len(outcomes)} Autobahn cases in {seconds:.0f} s: {spell(tally)}; closes: {spell(closes)}")
    if match.trouble:
        print(f"stopped after {len(outcomes)} of {len(match.cases)} cases: {match.trouble}")
    missed = len(match.cases) - len(outcomes)
    print(f"autobahn: {len(outcomes) - len(bad)} passed, {len(bad) + missed} failed")
    return not bad and not missed and not match.trouble


def spell(counter):
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


def main(folder, url, patterns):
    cases = load(folder)
    if len(cases) != ALL_CASES:
        sys.exit(f"{len(cases)} cases were prepared, {ALL_CASES} were expected")
    if patterns:
        cases = [case for case in cases if any(fnmatch.fnmatchcase(case[0], pattern) for pattern in patterns)]
    if not cases:
        sys.exit(f"no case has a number like {' '.join(patterns)}")
    match = Match(url, cases)
    started = time.monotonic()
    connectWS(match)
    reactor.callLater(TIME_LIMIT_S, match.give_up)
    reactor.run()
    sys.exit(0 if report(match, time.monotonic() - started) else 1)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
