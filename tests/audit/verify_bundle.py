"""Is an audit bundle what it says? Written after docs/audit-bundle.md alone; prints the three verdicts as JSON.

    python3 verify_bundle.py FILE      exit status 0: all hold, 1: one fails, 2: the file cannot be read
"""

import base64
import hashlib
import json
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PURPOSE = b"portreeve audit 1\n"
MARK = 8


class Bad(Exception):
    """A record that counts for nothing, and why."""


class Verdict:
    def __init__(self):
        self.first, self.what = None, None

    def fails(self, sequence, what):
        if self.first is None or sequence < self.first:
            self.first, self.what = sequence, what

    def shown(self):
        return {"ok": self.first is None, "first_sequence": self.first, "what": self.what}


def bytes_of(line):
    if ("text" in line) == ("base64" in line):
        raise ValueError("one of text and base64")
    return line["text"].encode() if "text" in line else base64.b64decode(line["base64"], validate=True)


def signed(key, signature, statement):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(
            base64.b64decode(signature, validate=True), PURPOSE + statement.encode())
        return True
    except (InvalidSignature, ValueError):
        return False


class Records:
    """What the records say, as far as they may be believed."""

    def __init__(self, integrity, completeness):
        self.integrity, self.completeness = integrity, completeness
        self.number, self.digest, self.broken = 0, bytes(32), False
        self.keys, self.anchors = [], []
        self.upto, self.hash, self.last = 0, bytes(32), None

    def take(self, number, stored):
        concerned = self.upto + 1
        if number <= self.number:
            self.integrity.fails(concerned, f"record {number} is not in its place")
            return
        if number > self.number + 1:
            self.completeness.fails(concerned, f"records before {number} are missing")
            self.broken = True
        before, (self.number, self.digest) = self.digest, (number, hashlib.sha256(stored).digest())
        try:
            statement = self.believe(stored)
            if statement["number"] != number:
                raise Bad("another number")
            if statement["previous"] != before.hex() and not self.broken:
                self.integrity.fails(concerned, f"record {number} does not stand on the one before")
            self.apply(statement)
            self.broken = False
        except (Bad, KeyError, TypeError, ValueError) as why:
            self.integrity.fails(concerned, f"record {number}: {why}")
            self.broken = True

    def believe(self, stored):
        record = json.loads(stored)
        text = record["statement"]
        statement = json.loads(text)
        if statement["type"] == "key":
            own = base64.b64decode(statement["public_key"], validate=True)
            if statement["introduces"] != len(self.keys) + 1:
                raise Bad("introduces another key than the next")
            if not signed(own, record.get("proof") or "", text):
                raise Bad("without the proof of the new key")
            signer = own if not self.keys and statement["key"] == 1 else None
        else:
            signer = None
        if signer is None:
            if statement["key"] != len(self.keys) or not self.keys:
                raise Bad("not signed by the newest key")
            signer = self.keys[-1]
        if not signed(signer, record["signature"], text):
            raise Bad("wrong signature")
        return statement

    def apply(self, statement):
        kind = statement["type"]
        if kind == "key":
            self.keys.append(base64.b64decode(statement["public_key"], validate=True))
        elif kind == "alarm":
            self.completeness.fails(statement["first_sequence"], statement["what"])
        elif kind == "anchor":
            self.anchor(statement)
        else:
            raise Bad(f"of a type that is unknown: {kind}")

    def anchor(self, said):
        after, upto = said["after"], said["upto"]
        digest, marks = bytes.fromhex(said["hash"]), base64.b64decode(said["marks"], validate=True)
        if upto < after or len(marks) != (upto - after) * MARK:
            raise Bad("marks do not fit its events")
        if after < self.upto or (after != self.upto and not self.broken):
            raise Bad("does not begin where the one before ended")
        if upto == after and not self.broken and digest != self.hash:
            raise Bad("another hash of the same log")
        if marks and marks[-MARK:] not in (digest[:MARK], bytes(MARK)):
            raise Bad("last mark and hash differ")
        self.upto, self.hash, self.last = upto, digest, said
        self.anchors.append((after, upto, digest, marks))


class Events:
    """The events as they go by."""

    def __init__(self, first, records, integrity, completeness):
        self.integrity, self.completeness = integrity, completeness
        self.anchors, self.at = records.anchors, 0
        self.first, self.next, self.count, self.missing = first, first, 0, set()
        self.hash = bytes(32) if first == 1 else self.known_after(first - 1)

    def known_after(self, sequence):
        return next((digest for _, upto, digest, _ in self.anchors if upto == sequence), None)

    def take(self, event):
        sequence = event["sequence"]
        payload = bytes_of(event)
        if sequence < self.next:
            self.missing.discard(sequence)
            self.integrity.fails(sequence, f"event {sequence} stands twice or out of its place")
            return
        if sequence > self.next:
            self.missing.update(range(self.next, sequence))
            self.hash = self.known_after(sequence - 1)
        self.next, self.count = sequence + 1, self.count + 1
        while self.at < len(self.anchors) and self.anchors[self.at][1] < sequence:
            self.at += 1
        if self.at == len(self.anchors):
            return
        after, upto, digest, marks = self.anchors[self.at]
        if self.hash is not None:
            self.hash = self.chained(event, payload)
            place = (sequence - after - 1) * MARK
            if place >= 0 and marks[place:place + MARK] != self.hash[:MARK]:
                self.integrity.fails(sequence, f"event {sequence} is another than its mark says")
                self.hash = None
            elif sequence == upto and self.hash != digest:
                self.integrity.fails(after + 1, f"events {after + 1} to {upto} have another hash")
                self.hash = None
        if self.hash is None and sequence == upto:
            self.hash = digest

    def chained(self, event, payload):
        def short(text):
            return struct.pack(">I", len(text)) + text

        parts = [self.hash, struct.pack(">Q", event["sequence"]), short(event["subject"].encode()),
                 struct.pack(">I", len(event["headers"]))]
        for name, value in event["headers"]:
            parts += [short(name.encode()), short(value.encode())]
        parts += [struct.pack(">Q", len(payload)), payload]
        return hashlib.sha256(b"".join(parts)).digest()

    def unreadable(self, what):
        self.integrity.fails(self.next, what)
        self.hash = None

    def finish(self, last):
        if self.missing:
            self.completeness.fails(min(self.missing), "events are missing")
        if self.next <= last:
            self.completeness.fails(self.next, f"events up to {last} are missing")


class Bundle:
    def __init__(self):
        self.integrity, self.completeness = Verdict(), Verdict()
        self.records = Records(self.integrity, self.completeness)
        self.events, self.manifest, self.bound = None, None, None
        self.misplaced, self.end, self.broken = None, None, None
        self.sha, self.lines, self.record_lines, self.readable = hashlib.sha256(), 0, 0, False

    def first(self):
        return self.manifest["first"] if self.manifest else 1

    def begun(self):
        if self.events is None:
            self.events = Events(self.first(), self.records, self.integrity, self.completeness)
        return self.events

    def take(self, raw):
        self.lines += 1
        if self.end is not None:
            self.misplaced = self.misplaced or "lines after the last one"
        before = self.sha.hexdigest()
        self.sha.update(raw)
        try:
            line = json.loads(raw)
            kind = line["line"]
            if kind == "manifest":
                if line["format"] != "portreeve-audit-bundle" or line["version"] != 1:
                    raise ValueError("another format")
                if self.lines == 1:
                    self.manifest = line
                    self.bound = hashlib.sha256(raw.removesuffix(b"\n")).hexdigest()
                else:
                    self.misplaced = self.misplaced or "a manifest that is not the first line"
            elif kind == "record":
                stored = bytes_of(line)
                if self.events is not None:
                    self.misplaced = self.misplaced or "a record among the events"
                self.record_lines += 1
                self.records.take(line["record"], stored)
            elif kind == "event":
                self.begun().take(line)
            elif kind == "end":
                self.end = (line["events"], line["records"], line["sha256"], before)
            elif kind == "broken":
                self.broken = line["why"]
            else:
                raise ValueError(kind)
            self.readable = True
        except (KeyError, TypeError, ValueError, AttributeError) as why:
            what = f"line {self.lines} cannot be read: {why}"
            if self.events is not None:
                self.events.unreadable(what)
            else:
                self.misplaced = self.misplaced or what

    def finish(self):
        events, records = self.begun(), self.records
        to = self.manifest["to"] if self.manifest else None
        ends = [upto for _, upto, _, _ in records.anchors if to is not None and upto >= to]
        events.finish(ends[0] if ends else records.upto)
        last = records.last if records.last and records.last["number"] == records.number else {}
        if self.bound is None or last.get("binds") != self.bound:
            self.integrity.fails(self.first(), "the last record does not bind the manifest")
        if self.misplaced:
            self.integrity.fails(self.first(), self.misplaced)
        good = self.integrity.first is None and self.completeness.first is None
        if good and self.end and self.end[2] != self.end[3]:
            self.integrity.fails(self.first(), "some byte is not what was written")
        if self.broken is not None or self.end is None:
            self.completeness.fails(events.next, self.broken or "the bundle breaks off")
        elif good and self.integrity.first is None and self.end[:2] != (events.count, self.record_lines):
            self.completeness.fails(events.next, "lines are missing")
        fidelity = self.manifest["fidelity"] if self.manifest else {"ok": False}
        shown = {"integrity": self.integrity.shown(), "completeness": self.completeness.shown(),
                 "fidelity": {name: fidelity.get(name) for name in ("ok", "first_sequence", "what")}}
        return all(verdict["ok"] for verdict in shown.values()), shown


def main(path):
    bundle = Bundle()
    try:
        with open(path, "rb") as file:
            for raw in file:
                bundle.take(raw)
    except OSError as why:
        print(why, file=sys.stderr)
        return 2
    if not bundle.readable:
        print("no bundle", file=sys.stderr)
        return 2
    holds, verdicts = bundle.finish()
    print(json.dumps(verdicts))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
