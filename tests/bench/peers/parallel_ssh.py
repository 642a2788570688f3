# How does a Python program run one command on many servers? Over connections that stay open, with libssh2.
#
#   parallel_ssh.py KEY USER AT_ONCE COMMAND PORT...
#
# For each line that it reads it runs the command everywhere, and says on how many it ended with 0 and said something.
import sys

from pssh.clients import ParallelSSHClient
from pssh.config import HostConfig


def main(key: str, user: str, at_once: str, command: str, *ports: str) -> None:
    hosts = ["127.0.0.1"] * len(ports)
    config = [HostConfig(port=int(port)) for port in ports]
    client = ParallelSSHClient(hosts, user=user, pkey=key, pool_size=int(at_once), host_config=config)
    for _ in sys.stdin:
        answers = client.run_command(command)
        client.join(answers)
        good = [answer for answer in answers if answer.exit_code == 0 and list(answer.stdout)]
        print(len(good), flush=True)


main(*sys.argv[1:])
