// What does an operator learn of a machine, and which accounts are made there? Facts, the doctor's findings, and an
// account that is pushed, verified, given other keys and removed.
import { everyLook } from "./every_look.mjs";
import { holds } from "./until.mjs";

const NAME = "machine one";
const ACCOUNT = "alice";
const KEYS = [
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPg/Ks5tPPuMzKJqbHXeEY2R+qDaB2ZbKN8C3lNKpMCX alice@laptop",
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6x1pM5fWm0Zt0Wg0q7yqk1y0h8bq0m3eWlq0n1mT2H alice@desk",
];
/** From the name to the clock. */
const STEPS = 15;

const button = (page, name) => page.getByRole("button", { name, exact: true });
const field = (page, name) => page.getByRole("textbox", { name, exact: true });
const fact = (page, name) => page.locator(".fact", { has: page.getByText(name, { exact: true }) });
const row = (page, text) => page.getByRole("row").filter({ hasText: text });
const tab = (page, name) => page.getByRole("tab", { name, exact: true });
const asked = (page, name) => page.getByRole("dialog").getByLabel(name, { exact: true });
const inDialog = (page, name) => page.getByRole("dialog").getByRole("button", { name, exact: true });
const ended = (page, outcome) => page.locator(`[data-outcome="${outcome}"]`);
const ends = (key) => key.split(" ")[1].slice(-10);

async function register({ desk: page, machine }) {
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Servers", exact: true }).click();
  await page.getByRole("link", { name: "Register a server" }).click();
  await field(page, "Name").fill(NAME);
  await field(page, "Host").fill(machine.host);
  await page.getByRole("spinbutton", { name: "Port" }).fill(machine.port);
  await field(page, "User name there").fill("root");
  await field(page, "Password").fill(machine.password);
  await button(page, "Register").click();
  await page.getByRole("heading", { name: NAME }).waitFor();
  await page.getByText("One gets in; it took").waitFor();
}

async function facts({ desk: page, look }) {
  await tab(page, "Facts").click();
  await page.getByText("Nothing is known of the machine yet").waitFor();
  await look(page, "server-facts-none");
  await button(page, "Ask the server").click();
  await fact(page, "Host name").waitFor();
  await fact(page, "Kernel").filter({ hasText: "Linux" }).waitFor();
  await page.getByText("The server said so").waitFor();
  await everyLook(page, look, "server-facts");
}

async function doctor({ desk: page, look }) {
  await tab(page, "Doctor").click();
  await look(page, "server-doctor-none");
  await button(page, "Examine").click();
  const findings = page.getByRole("table", { name: "What was found" });
  await findings.waitFor();
  const steps = await findings.locator("tbody tr").evaluateAll((rows) => new Set(rows.map((each) => each.dataset.step)).size);
  holds(steps === STEPS, `${steps} steps were looked at`);
  await findings.locator('[data-step="authentication"][data-finding="ok"]').waitFor();
  await everyLook(page, look, "server-doctor");
  await field(page, "Account to be looked at").fill("nobody-there");
  await button(page, "Examine").click();
  await page.getByText("Something is wrong.").waitFor();
  const missing = findings.locator('[data-step="account"][data-finding="failed"]');
  await missing.getByText("There is no such account", { exact: true }).waitFor();
  await missing.getByText("Suggestion:").waitFor();
  await look(page, "server-doctor-wrong");
  // what was found is there when one comes back to it
  await tab(page, "Facts").click();
  await tab(page, "Doctor").click();
  await page.getByText("Something is wrong.").waitFor();
}

async function wrongKey({ desk: page, look }) {
  await tab(page, "Accounts").click();
  await page.getByText("No account was pushed from here").waitFor();
  await look(page, "server-accounts-none");
  await button(page, "Push an account").click();
  await asked(page, "Account").fill(ACCOUNT);
  await asked(page, "Keys").fill("-----BEGIN OPENSSH PRIVATE KEY-----");
  await inDialog(page, "Push").click();
  await page.getByRole("dialog").getByText("this is a private key").waitFor();
  await look(page, "account-wrong-key");
}

async function push({ desk: page, look }) {
  await asked(page, "Keys").fill(KEYS[0]);
  await inDialog(page, "Push").click();
  await ended(page, "done").getByText(`Push: ${ACCOUNT}: done`).waitFor();
  await ended(page, "done").getByText("The account was not there before.").waitFor();
  await row(page, ends(KEYS[0])).getByText("There", { exact: true }).waitFor();
  await everyLook(page, look, "server-accounts");
  await button(page, `Verify ${ACCOUNT}`).click();
  await ended(page, "done").getByText(`Verify: ${ACCOUNT}: done`).waitFor();
}

async function rotate({ desk: page, look }) {
  await button(page, `Other keys for ${ACCOUNT}`).click();
  await asked(page, "Keys").fill(KEYS[1]);
  await look(page, "account-rotate");
  await inDialog(page, "Put in place").click();
  await row(page, ends(KEYS[1])).waitFor();
  holds((await row(page, ends(KEYS[0])).count()) === 0, "the key before is still shown");
}

async function remove({ desk: page, look }) {
  await button(page, `Remove ${ACCOUNT}`).click();
  await page.getByRole("dialog").getByLabel("With its home").check();
  await look(page, "account-remove");
  await inDialog(page, "Remove").click();
  await ended(page, "done").getByText(`Remove: ${ACCOUNT}: done`).waitFor();
  await button(page, `Remove ${NAME}`).click();
  await inDialog(page, "Remove").click();
  await page.getByRole("heading", { name: "Servers" }).waitFor();
}

export const machine = [
  ["a machine is registered", register],
  ["it says what it is", facts],
  ["the doctor looks at it", doctor],
  ["a private key is no key of an account", wrongKey, 422],
  ["an account is pushed and verified", push],
  ["it gets other keys", rotate],
  ["account and machine are removed", remove],
];
