"""Does asyncssh work? HOST PORT USER, the password in SSHPASS. Prints "all" at its end."""
import asyncio
import os
import sys

import asyncssh

COMMANDS = 50
host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def main():
    options = {"known_hosts": None, "config": None, "client_keys": None, "agent_path": None}
    login = {"username": user, "password": os.environ["SSHPASS"]}
    async with asyncssh.connect(host, port, **options, **login) as connection:
        done = await asyncio.gather(*(connection.run(f"echo {n}; exit {n}") for n in range(COMMANDS)))
        said = [(one.stdout, one.stderr, one.exit_status, one.exit_signal) for one in done]
        assert said == [(f"{n}\n", "", n, None) for n in range(COMMANDS)], said

        async with connection.create_process("stty size; exit 3", term_type="xterm", term_size=(91, 17)) as shell:
            said = await shell.stdout.read()
            assert said.strip() == "17 91", said

        data = os.urandom(4 << 20)
        async with connection.start_sftp_client() as sftp:
            async with sftp.open("/tmp/asyncssh", "wb") as file:
                await file.write(data)
            async with sftp.open("/tmp/asyncssh", "rb") as file:
                assert await file.read() == data

        listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", 22)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
        greeting = await reader.readline()
        assert greeting.startswith(b"SSH-2.0-OpenSSH"), greeting
        writer.close()
        listener.close()
    print("all")


asyncio.run(main())
