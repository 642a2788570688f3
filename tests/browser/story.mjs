// What does a developer do on an ordinary day? Each step ends where the next begins.
import { SHOWN_AT_MOST_MS } from "./chromium.mjs";
import { ssh } from "./openssh.mjs";
import { servers } from "./servers.mjs";
import { terminal } from "./terminal.mjs";
import { holds, until } from "./until.mjs";

/** An environment is up by then, on a busy machine. */
const RUNNING_AT_MOST_MS = 60_000;
/** JupyterLab starts beside the environment, and is a large page. */
const NOTEBOOKS_AT_MOST_MS = 60_000;
/** Wrong passwords until the address is locked out. */
const GUESSES = 5;
const NAME = "my-first";
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6x1pM5fWm0Zt0Wg0q7yqk1y0h8bq0m3eWlq0n1mT2H ada@laptop";

const button = (page, name) => page.getByRole("button", { name, exact: true });
const field = (page, name) => page.getByRole("textbox", { name, exact: true });
const fact = (page, name) => page.locator(".fact", { has: page.getByText(name, { exact: true }) });
const row = (page, text) => page.getByRole("row").filter({ hasText: text });

async function clipboard(page) {
  return page.evaluate(() => navigator.clipboard.readText());
}

/** What a copy button left in the clipboard. */
async function copied(page, what) {
  await page.evaluate(() => navigator.clipboard.writeText("nothing yet"));
  await button(page, `Copy: ${what}`).click();
  await page.getByText(`Copied: ${what}`).waitFor();
  return clipboard(page);
}

async function wrongPassword({ page, look, username }) {
  await page.goto("/");
  await page.getByRole("heading", { name: "Portreeve" }).waitFor();
  await look(page, "sign-in");
  await field(page, "User name").fill(username);
  await field(page, "Password").fill("not the password");
  await button(page, "Sign in").click();
  await page.getByRole("alert").filter({ hasText: "User name or password is wrong" }).waitFor();
  await look(page, "sign-in-refused");
}

async function signIn({ page, username, password }) {
  await field(page, "Password").fill(password);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Environments" }).waitFor();
  await page.getByText(username).waitFor();
  const cookies = await page.context().cookies();
  const cookie = cookies.find((each) => each.name === "portreeve_session");
  holds(cookie?.httpOnly && cookie.sameSite === "Strict", `the session's cookie: ${JSON.stringify(cookie)}`);
  // the cookie without the page's word opens nothing
  const bare = await page.evaluate(() => fetch("/api/me").then((answer) => answer.status)).catch(String);
  holds(bare === 401, `the cookie alone was answered with ${bare}`);
}

async function emptyList({ page, look }) {
  await page.getByText("No environments yet").waitFor();
  await page.getByRole("meter", { name: "CPU cores" }).waitFor();
  await look(page, "environments-none");
}

async function create(world) {
  const { page, look } = world;
  await page.getByRole("link", { name: "New environment" }).click();
  await field(page, "Name").fill(NAME);
  await button(page, "Large").click();
  await page.getByText("This is more than the quota leaves.").waitFor();
  holds(await button(page, "Create").isDisabled(), "what the quota does not leave can be asked for");
  await look(page, "create-beyond");
  await button(page, "Small").click();
  await page.getByLabel("JupyterLab").check();
  await page.getByText("Keys, allow-list, image").click();
  await look(page, "create");
  await button(page, "Create").click();
  await page.getByRole("heading", { name: NAME }).waitFor();
  world.id = new URL(page.url()).pathname.split("/").at(-1);
}

async function untilRunning({ page, look }) {
  // without a reload: the page hears of it
  await page.locator('.badge[data-status="running"]').waitFor({ timeout: RUNNING_AT_MOST_MS });
  await page.getByText("Ready: accepts connections").waitFor();
  await fact(page, "SSH command").locator("code").waitFor();
  await look(page, "environment");
  await page.getByRole("link", { name: "Open terminal" }).waitFor();
}

async function revealAndCopy(world) {
  const { page } = world;
  const secret = page.locator(".secret");
  // a create shows its password once; it is hidden first, as after a reload
  await page.reload();
  await page.getByLabel("hidden").waitFor();
  holds((await secret.getAttribute("data-shown")) === "false", "the password is shown unasked");
  await button(page, "Reveal the password (this is recorded)").click();
  await page.locator('.secret[data-shown="true"]').waitFor();
  world.first = (await secret.textContent()).trim();
  holds((await copied(page, "Password")) === world.first, "the copied password is another one");
  world.command = await copied(page, "SSH command");
  holds(/^ssh \S+@\S+ -p \d+$/.test(world.command), `copied as SSH command: ${world.command}`);
  holds((await copied(page, "VS Code")).startsWith("Host "), "the copied block is no Host block");
  await page.getByText("Password shown").first().waitFor();
  await world.look(page, "environment-revealed");
}

async function reset(world) {
  const { page, look } = world;
  await button(page, "Reset").click();
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await look(page, "reset");
  await dialog.getByRole("button", { name: "Reset" }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByText("The new password is in force").waitFor();
  world.second = (await page.locator(".secret").textContent()).trim();
  holds(world.second !== world.first, "the reset left the password as it was");
  const old = await ssh(world.command, world.first, "true");
  holds(old.refused, `the old password: ${JSON.stringify(old)}`);
  const inside = await ssh(world.command, world.second, "id -un");
  holds(inside.success && inside.stdout.trim() === "developer", `the new password: ${JSON.stringify(inside)}`);
}

async function sessions({ page, look }) {
  await page.getByRole("tab", { name: "Sessions" }).click();
  await row(page, "Direct port").first().waitFor();
  await row(page, "left").first().waitFor();
  await look(page, "sessions");
}

async function lockout(world) {
  const { page, look, command } = world;
  await page.getByRole("tab", { name: "Logins" }).click();
  await button(page, "Refused").click();
  await row(page, "wrong password").first().waitFor();
  const before = await row(page, "wrong password").count();
  for (let guess = before; guess < GUESSES; guess += 1) {
    const answer = await ssh(command, `guess number ${guess}`, "true");
    // the one that locks the address out is shut out with it
    holds(!answer.success && (answer.refused || guess === GUESSES - 1), `a wrong password: ${JSON.stringify(answer)}`);
  }
  // without a reload
  await page.getByRole("heading", { name: "Locked addresses" }).waitFor();
  await until("all guesses are listed", SHOWN_AT_MOST_MS, async () => {
    const listed = await row(page, "wrong password").count();
    holds(listed === GUESSES, `${listed} are listed`);
  });
  await button(page, "All").click();
  await row(page, "Locked out").waitFor();
  await look(page, "logins");
  const shut = await ssh(command, world.second, "true");
  holds(!shut.success, "the right password opens a locked door");
}

async function unlock({ page, command, second }) {
  await button(page, "Unlock").click();
  await page.getByRole("heading", { name: "Locked addresses" }).waitFor({ state: "detached" });
  await row(page, "Unlocked").waitFor();
  await until("the right password opens again", SHOWN_AT_MOST_MS, async () => {
    const answer = await ssh(command, second, "true");
    holds(answer.success, JSON.stringify(answer));
  });
}

async function allowList({ page, look }) {
  await page.getByRole("tab", { name: "Allow-list" }).click();
  const ranges = field(page, "Addresses that may connect");
  await ranges.fill("10.0.0.0/8\nnot an address");
  await button(page, "Save").click();
  await page.locator(".field.wrong .error").waitFor();
  await look(page, "allow-list-wrong");
  await ranges.fill("10.0.0.0/8, 127.0.0.1\n");
  await button(page, "Save").click();
  await page.getByText("The allow-list is saved").waitFor();
  await look(page, "allow-list");
  await page.getByRole("tab", { name: "Progress" }).click();
  await page.getByText("Allow-list set").waitFor();
}

/** Through the control plane, in a tab of its own. */
async function notebooks({ page, id }) {
  await page.goto(`/environments/${id}`);
  const opened = page.context().waitForEvent("page");
  await button(page, "Open JupyterLab").click();
  const lab = await opened;
  await lab.locator("#jp-main-dock-panel").waitFor({ timeout: NOTEBOOKS_AT_MOST_MS });
  holds(lab.url().includes(`/jupyter/${id}/`) && !lab.url().includes("token"), `JupyterLab is at ${lab.url()}`);
  await lab.close();
}

async function keys({ page, look }) {
  await page.getByRole("link", { name: "SSH keys" }).click();
  await page.getByText("No keys yet").waitFor();
  await field(page, "Public key").fill(KEY);
  holds((await field(page, "Name").inputValue()) === "ada@laptop", "the key's comment is not its name");
  await field(page, "Name").fill("laptop");
  await button(page, "Add key").click();
  await row(page, "laptop").waitFor();
  await row(page, "SHA256:").waitFor();
  await look(page, "keys");
  await field(page, "Public key").fill(KEY);
  await button(page, "Add key").click();
  await page.getByRole("alert").waitFor();
  await button(page, "Remove laptop").click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove", exact: true }).click();
  await page.getByText("No keys yet").waitFor();
}

async function events(world) {
  const { page, look, another, id } = world;
  await page.getByRole("link", { name: "Events" }).click();
  await page.locator(".badge", { hasText: "Live" }).waitFor();
  await page.getByRole("row").filter({ hasText: "PasswordReset" }).first().waitFor();
  await look(page, "events");
  await page.getByLabel("Since").selectOption({ label: "Now" });
  await page.getByText("Nothing happened yet").waitFor();
  // somebody else's doing arrives by itself
  const other = await another();
  await world.enter(other);
  await other.goto(`/environments/${id}`);
  await button(other, "Stop").click();
  await row(page, "EnvStopped").waitFor();
  await other.locator('.badge[data-status="stopped"]').waitFor();
  await look(other, "environment-stopped");
  await other.context().close();
  await row(page, "EnvStopRequested").getByRole("button").click();
}

async function signOut({ page }) {
  await button(page, "Sign out").click();
  await field(page, "User name").waitFor();
  const cookies = await page.context().cookies();
  holds(!cookies.some((each) => each.name === "portreeve_session"), "the session's cookie is still there");
  await page.goto("/environments");
  await field(page, "User name").waitFor();
}

/** Name, what is done, and the answer that says no which the browser then complains of. */
export const steps = [
  ["a wrong password is refused", wrongPassword, 401],
  ["sign in", signIn, 401],
  ["an empty list, with what the quota leaves", emptyList],
  ["create", create],
  ["it runs", untilRunning],
  ["reveal and copy", revealAndCopy],
  ["reset the password and log in with it", reset],
  ["the session is listed", sessions],
  ["wrong passwords are listed and lock the address out", lockout],
  ["unlock", unlock],
  ...servers,
  ["allow-list", allowList, 422],
  ...terminal,
  ["JupyterLab opens", notebooks],
  ["keys", keys, 409],
  ["events arrive", events],
  ["sign out", signOut],
];
