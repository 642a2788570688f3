"""Does paramiko work? HOST PORT USER, the password in SSHPASS. Prints "all" at its end."""
import os
import sys

import paramiko

CHANNELS = 200
host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]
password = os.environ["SSHPASS"]

# a second attempt on the same connection: paramiko asks for the service again
transport = paramiko.Transport((host, port))
transport.start_client(timeout=30)
try:
    transport.auth_password(user, "wrong-Password-1")
    raise SystemExit("a wrong password got in")
except paramiko.AuthenticationException:
    transport.auth_password(user, password)

channel = transport.open_session()
channel.exec_command("cat; echo error >&2; exit 9")
channel.sendall(b"word")
channel.shutdown_write()
said = channel.makefile().read(), channel.makefile_stderr().read(), channel.recv_exit_status()
assert said == (b"word", b"error\n", 9), said

sftp = paramiko.SFTPClient.from_transport(transport)
data = os.urandom(4 << 20)
with sftp.open("/tmp/paramiko", "wb") as file:
    file.set_pipelined(True)
    file.write(data)
with sftp.open("/tmp/paramiko", "rb") as file:
    file.prefetch()
    assert file.read() == data
sftp.close()

# WinSCP's way: sftp before anything else, and commands beside it on the same connection
fresh = paramiko.Transport((host, port))
fresh.connect(username=user, password=password)
sftp = paramiko.SFTPClient.from_transport(fresh)
sftp.putfo(__import__("io").BytesIO(data), "/tmp/winscp")
beside = fresh.open_session()
beside.exec_command("wc -c </tmp/winscp; chmod 600 /tmp/winscp")
assert (beside.makefile().read(), beside.recv_exit_status()) == (b"%d\n" % len(data), 0)
assert sftp.stat("/tmp/winscp").st_mode & 0o777 == 0o600
fresh.close()

# many sessions at once, each with a word of its own
channels = [transport.open_session() for _ in range(CHANNELS)]
for number, channel in enumerate(channels):
    channel.exec_command("exec cat")
for number, channel in enumerate(channels):
    channel.sendall(b"%d" % number)
    channel.shutdown_write()
for number, channel in enumerate(channels):
    said = channel.makefile().read(), channel.recv_exit_status()
    assert said == (b"%d" % number, 0), (number, said)
transport.close()
print("all")
