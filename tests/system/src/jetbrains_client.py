"""Does JetBrains Gateway's pattern work? HOST PORT USER, the password in SSHPASS. Prints "all" at its end.

As far as its public documentation tells: one connection of a library; questions by exec, several at once; a
worker uploaded by sftp into ~/.cache/JetBrains/RemoteDev and made executable; the worker is run and stays,
with its input open; it prints a join link; the client comes to that port by a forward.
"""
import asyncio
import os
import re
import sys

import asyncssh

WORKER_DIR = ".cache/JetBrains/RemoteDev/remote-dev-worker"
WORKER = f"{WORKER_DIR}/remote-dev-worker_linux_amd64"
# a program of some size, as theirs is
PADDING = 8 << 20
WORKER_TEXT = b"""#!/bin/bash
exec python3 -u -c '
import socket, sys, threading
server = socket.create_server(("127.0.0.1", 0))
print("Join link: tcp://127.0.0.1:%d#jt=token&p=IU&fp=00" % server.getsockname()[1])
def serve():
    while True:
        peer, _ = server.accept()
        while data := peer.recv(65536):
            peer.sendall(data)
        peer.close()
threading.Thread(target=serve, daemon=True).start()
sys.exit(7 if sys.stdin.readline() == "exit\\n" else 1)
'
"""
host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def main():
    options = {"known_hosts": None, "config": None, "client_keys": None, "agent_path": None}
    login = {"username": user, "password": os.environ["SSHPASS"]}
    async with asyncssh.connect(host, port, **options, **login) as connection:
        questions = ["uname -sm", "echo $HOME", "ldd --version 2>&1 | head -1", "df -Pk $HOME", "id -un"]
        answers = await asyncio.gather(*(connection.run(f"sh -c '{question}'") for question in questions))
        assert all(answer.exit_status == 0 and answer.stdout for answer in answers), answers
        home = answers[1].stdout.strip()

        worker = WORKER_TEXT + b"exit 0\n" + b"#" * PADDING
        async with connection.start_sftp_client() as sftp:
            await sftp.makedirs(WORKER_DIR, exist_ok=True)
            async with sftp.open(WORKER + ".part", "wb") as file:
                await file.write(worker)
            await sftp.posix_rename(WORKER + ".part", WORKER)
            await sftp.chmod(WORKER, 0o700)
            assert (await sftp.stat(WORKER)).size == len(worker)

        running = await connection.create_process(f"{home}/{WORKER}")
        link = await asyncio.wait_for(running.stdout.readline(), 60)
        served = re.fullmatch(r"Join link: tcp://127\.0\.0\.1:(\d+)#jt=token&p=IU&fp=00\n", link)
        assert served, link
        listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", int(served[1]))

        async def talk(number):
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
            data = os.urandom(1 << 20)
            writer.write(data)
            assert await reader.readexactly(len(data)) == data, number
            writer.close()

        # the client's own connection, one after the other and then several
        for number in range(3):
            await talk(number)
        listener.close()
        running.stdin.write("exit\n")
        ended = await asyncio.wait_for(running.wait(), 60)
        assert ended.exit_status == 7, ended
    print("all")


asyncio.run(main())
