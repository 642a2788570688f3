"""Two terminals of one connection, one of which changes its size. HOST PORT USER, the password in SSHPASS. Prints "all" at its end."""
import asyncio
import os
import sys

import asyncssh

host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def until(shell, text):
    said = ""
    while text not in said:
        more = await shell.stdout.read(1024)
        assert more, said
        said += more


async def main():
    options = {"known_hosts": None, "config": None, "client_keys": None, "agent_path": None}
    login = {"username": user, "password": os.environ["SSHPASS"]}
    async with asyncssh.connect(host, port, **options, **login) as connection:
        one = await connection.create_process(term_type="xterm", term_size=(80, 24))
        one.stdin.write("PS1=; echo one-$((1))\n")
        await until(one, "one-1")
        two = await connection.create_process(term_type="xterm", term_size=(80, 24))
        two.stdin.write("PS1=; echo two-$((2))\n")
        await until(two, "two-2")
        one.change_terminal_size(111, 33)
        one.stdin.write("stty size\n")
        await until(one, "33 111")
        for shell in (one, two):
            shell.stdin.write("exit\n")
            await shell.wait()
        # beside them what has no terminal
        assert (await connection.run("echo plain")).stdout == "plain\n"
    print("all")


asyncio.run(main())
