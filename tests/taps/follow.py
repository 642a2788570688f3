"""Follows a tenant's events by NATS itself, as somebody else does: nats-py and the answer of `POST /api/nats-taps`.

    follow.py TAP.json live            prints each event as it is stored
    follow.py TAP.json resume COUNT    prints COUNT events on from where it was, and acknowledges them
    follow.py TAP.json refused         tries what a tap may not, and prints what was answered or heard

The file is what was answered. A line is JSON: sequence, subject, type, data.
"""

import asyncio
import json
import sys

import nats
import nats.errors

WAIT_S = 20
# What is refused is told within; what is not answered by then is not answered.
REFUSED_WITHIN_S = 1.5


def say(**said):
    print(json.dumps(said), flush=True)


def show(message, sequence):
    headers = message.headers or {}
    say(sequence=sequence, subject=message.subject, type=headers.get("ce-type"), id=headers.get("ce-id"),
        data=json.loads(message.data))


async def connect(tap, way, errors):
    async def on_error(error):
        errors.append(str(error))

    return await nats.connect(
        tap["url"], user=tap[way]["user"], password=tap["password"], connect_timeout=5,
        inbox_prefix=tap["resume"]["inbox_prefix"], error_cb=on_error, allow_reconnect=False)


async def live(tap):
    client = await connect(tap, "live", [])

    async def heard(message):
        show(message, int(message.headers["Nats-Sequence"]))

    for subject in tap["live"]["subjects"]:
        await client.subscribe(subject, cb=heard)
    await client.flush()
    say(listening=True)
    await asyncio.Event().wait()


async def resume(tap, count):
    client = await connect(tap, "resume", [])
    place = tap["resume"]
    stream = client.jetstream(prefix=place["api_prefix"])
    pulled = await stream.pull_subscribe_bind(place["consumer"], stream=place["stream"])
    while count > 0:
        for message in await pulled.fetch(min(count, 100), timeout=WAIT_S):
            show(message, message.metadata.sequence.stream)
            await message.ack_sync()
            count -= 1
    await client.close()


async def refused(tap):
    """Every attempt ends in a violation, or in nothing; what comes back is printed."""
    own = tap["resume"]["consumer"]
    stream, api = tap["resume"]["stream"], tap["resume"]["api_prefix"]
    for way in ("live", "resume"):
        errors = []
        client = await connect(tap, way, errors)
        heard = []

        async def on_message(message):
            heard.append(message.subject)

        for subject in (">", "*", "stored.>", "stored.*.env.*", "stored.other.env.*", "ev.>", "_INBOX.>", "$SYS.>",
                        "$SYS.REQ.USER.AUTH", "$JS.>", "$JS.ACK.>"):
            await client.subscribe(subject, cb=on_message)
        for subject in ("ev.default.env.forged", "stored.default.env.forged", "anchor.log", "$KV.VAULT.a.b.c",
                        f"$JS.ACK.{stream}.other.1.1.1.1.0", "$SYS.REQ.USER.AUTH", "SERVERS.KICK.x"):
            await client.publish(subject, b"{}")
        for subject in (
                "$JS.API.INFO", "$JS.API.STREAM.NAMES", f"$JS.API.STREAM.INFO.{stream}", f"{api}.STREAM.INFO.{stream}",
                f"{api}.STREAM.PURGE.{stream}", f"{api}.STREAM.MSG.GET.{stream}", f"{api}.DIRECT.GET.{stream}",
                f"{api}.CONSUMER.CREATE.{stream}.mine", f"{api}.CONSUMER.DELETE.{stream}.{own}",
                f"{api}.CONSUMER.NAMES.{stream}", f"{api}.CONSUMER.INFO.{stream}.provisioner",
                f"{api}.CONSUMER.MSG.NEXT.{stream}.provisioner", "SERVERS.CONNZ"):
            # no inbox of `live` is heard, so the answer goes where `resume` would hear it
            await client.publish(subject, b'{"seq":1}', reply=f"_INBOX_{own}.{way}")
        await client.flush()
        await asyncio.sleep(REFUSED_WITHIN_S)
        say(way=way, violations=len([error for error in errors if "violation" in error.lower()]), heard=heard)
        await client.close()


def main():
    with open(sys.argv[1]) as file:
        tap = json.load(file)
    what = sys.argv[2]
    if what == "live":
        return live(tap)
    if what == "resume":
        return resume(tap, int(sys.argv[3]))
    return refused(tap)


if __name__ == "__main__":
    asyncio.run(main())
