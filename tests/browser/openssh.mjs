// Who gets in? A person with OpenSSH's own client, the password through sshpass.
import { execFile } from "node:child_process";

const CONNECT_AT_MOST_S = 10;
const COMMAND_AT_MOST_MS = 30_000;
const OPTIONS = [
  "StrictHostKeyChecking=no",
  "UserKnownHostsFile=/dev/null",
  "GlobalKnownHostsFile=/dev/null",
  "LogLevel=ERROR",
  `ConnectTimeout=${CONNECT_AT_MOST_S}`,
  "NumberOfPasswordPrompts=1",
  "PreferredAuthentications=password",
];

/** Runs `remote` by the command that the page shows (`ssh developer@127.0.0.1 -p 30000`). */
export function ssh(shown, password, remote) {
  const [program, ...words] = shown.split(" ");
  if (program !== "ssh") throw new Error(`no SSH command: ${shown}`);
  const options = OPTIONS.flatMap((option) => ["-o", option]);
  const environment = { ...process.env, SSHPASS: password };
  delete environment.SSH_AUTH_SOCK;
  return new Promise((done) => {
    const all = ["-e", "ssh", "-F", "/dev/null", ...options, ...words, remote];
    execFile("sshpass", all, { env: environment, timeout: COMMAND_AT_MOST_MS }, (error, stdout, stderr) =>
      done({ success: !error, refused: stderr.includes("Permission denied"), stdout, stderr: `${stderr}${error?.code === "ENOENT" ? "sshpass is missing: deploy/dev/tools.sh installs it" : ""}` }),
    );
  });
}
