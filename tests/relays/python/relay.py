"""A relay as somebody else writes it: python-socketio and paramiko, from the public description alone.

    RELAY_URL=http://127.0.0.1:8080 PROXY_ID=rel-... API_KEY=prk_... relay.py

RELAY_BY is `auth` or `query`, RELAY_TRANSPORT is `websocket` or `polling`.
"""

import io
import os
import sys
import threading
import time
import urllib.parse

import paramiko
import socketio

URL = os.environ["RELAY_URL"]
WHO = {"proxyId": os.environ["PROXY_ID"], "apiKey": os.environ["API_KEY"]}
BY = os.environ.get("RELAY_BY", "auth")
TRANSPORT = os.environ.get("RELAY_TRANSPORT", "websocket")

client = socketio.Client(reconnection=True, reconnection_delay=0.2, reconnection_delay_max=1)
connected = threading.Event()


def say(*words):
    print(*words, flush=True)


def private_key(text):
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text))
        except paramiko.SSHException:
            continue
    raise paramiko.SSHException("unknown kind of private key")


def execute(command):
    timeout_s = command["timeout"] / 1000
    ssh = paramiko.SSHClient()
    ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    try:
        key = private_key(command["privateKey"]) if command.get("privateKey") else None
        ssh.connect(command["host"], port=command["port"], username=command["username"],
                    password=command.get("password"), pkey=key, timeout=10, allow_agent=False, look_for_keys=False)
        _, stdout, stderr = ssh.exec_command(command["command"], timeout=timeout_s)
        said = {}
        reader = threading.Thread(target=lambda: said.update(stderr=stderr.read()))
        reader.start()
        said["stdout"] = stdout.read()
        reader.join()
        code = stdout.channel.recv_exit_status()
        return {"stdout": said["stdout"].decode("utf-8", "replace"),
                "stderr": said["stderr"].decode("utf-8", "replace"), "exitCode": code}
    except Exception as error:  # whatever it is, the other side is told
        return {"stdout": "", "stderr": str(error), "exitCode": 1}
    finally:
        ssh.close()


def run(command):
    say("execute", command["commandId"])
    answer = {"commandId": command["commandId"], "result": execute(command)}
    for _ in range(600):
        connected.wait(60)
        try:
            client.emit("command_result", answer, namespace="/proxy")
            say("answered", command["commandId"])
            return
        except socketio.exceptions.SocketIOError:
            time.sleep(0.1)


@client.on("connect", namespace="/proxy")
def on_connect():
    say("connected")
    connected.set()


@client.on("disconnect", namespace="/proxy")
def on_disconnect(*_):
    say("disconnected")
    connected.clear()


@client.on("connect_error", namespace="/proxy")
def on_connect_error(data):
    say("refused", data)


@client.on("execute_command", namespace="/proxy")
def on_execute_command(command):
    threading.Thread(target=run, args=(command,), daemon=True).start()


@client.on("command_result_received", namespace="/proxy")
def on_received(data):
    say("received", data.get("success"))


def main():
    url = f"{URL}?{urllib.parse.urlencode(WHO)}" if BY == "query" else URL
    auth = None if BY == "query" else WHO
    while True:
        try:
            client.connect(url, auth=auth, namespaces=["/proxy"], transports=[TRANSPORT], wait_timeout=10)
            client.wait()
        except socketio.exceptions.ConnectionError as error:
            say("no connection:", error)
            time.sleep(0.5)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
