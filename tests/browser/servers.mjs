// What does an operator do with a server? Register it, see why one does not get in, mend that, and work there.
import { commands } from "./commands.mjs";
import { enter } from "./enter.mjs";
import { afterwards, grants } from "./grants.mjs";
import { machine } from "./machine.mjs";
import { connected, run, shows, speak } from "./terminal.mjs";
import { holds } from "./until.mjs";

const NAME = "web one";

const button = (page, name) => page.getByRole("button", { name, exact: true });
const field = (page, name) => page.getByRole("textbox", { name, exact: true });
const row = (page, text) => page.getByRole("row").filter({ hasText: text });

/** The environment's own port is an SSH server like any other. */
function placeOf(command) {
  const [, user, host, port] = /^ssh (\S+)@(\S+) -p (\d+)$/.exec(command) ?? [];
  holds(port, `no place in ${command}`);
  return { user, host, port };
}

async function register(world) {
  const { look, command, second } = world;
  const page = await world.another();
  world.desk = page;
  await enter(page, world.operator);
  await page.getByRole("link", { name: "Servers" }).click();
  await page.getByText("No servers yet").waitFor();
  await look(page, "servers-none");
  await page.getByRole("link", { name: "Register a server" }).click();
  const { user, host, port } = placeOf(command);
  await field(page, "Name").fill(NAME);
  await field(page, "Host").fill(host);
  await page.getByRole("spinbutton", { name: "Port" }).fill(port);
  // a real support case: Linux tells capitals from small letters
  await field(page, "User name there").fill(user.replace(/^./, (first) => first.toUpperCase()));
  await field(page, "Password").fill(second);
  await look(page, "server-new");
  await button(page, "Register").click();
  await page.getByRole("heading", { name: NAME }).waitFor();
  const refused = page.getByRole("alert").filter({ hasText: "does not let this account in" });
  await refused.filter({ hasText: `try "${user}"` }).waitFor();
  await look(page, "server-refused");
}

async function mend({ desk: page, look, command, second }) {
  await field(page, "User name there").fill(placeOf(command).user);
  await button(page, "Save").click();
  await page.getByText("One gets in; it took").waitFor();
  holds(!(await page.content()).includes(second), "the password is in the page");
  await look(page, "server");
  await page.getByRole("link", { name: "Servers" }).click();
  await row(page, NAME).getByText("One gets in").waitFor();
  await look(page, "servers");
}

async function work({ desk: page, look }) {
  await row(page, NAME).getByRole("link", { name: `Terminal of ${NAME}` }).click();
  await connected(page);
  await speak(page);
  await run(page, "echo $((6*7)); id -un");
  await shows(page, "42");
  await shows(page, "developer");
  await look(page, "server-terminal");
}

async function remove({ desk: page }) {
  await page.getByRole("link", { name: "Servers", exact: true }).click();
  await row(page, NAME).getByRole("link", { name: NAME, exact: true }).click();
  await button(page, `Remove ${NAME}`).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove", exact: true }).click();
  await page.getByText("No servers yet").waitFor();
  await page.context().close();
}

export const servers = [
  ["a server is registered, and it is said why one does not get in", register],
  ["what was wrong is mended", mend],
  ["a terminal on the server", work],
  ...commands(NAME),
  ...grants,
  ...afterwards,
  ...machine,
  ["the server is removed", remove],
];
