// What does an operator run on servers? A command, once more, one that is called off; and a relay with its key.
import { readFileSync } from "node:fs";
import { approvals } from "./approvals.mjs";
import { everyLook } from "./every_look.mjs";
import { holds } from "./until.mjs";

const COMMAND = "echo hello; echo err >&2; exit 3";
const LONG = "sleep 60";
const RELAY = "dmz one";
const SCHEDULE = "nightly";
const KEY = /^prk_[a-z2-7]{40}$/;

const button = (page, name) => page.getByRole("button", { name, exact: true });
const field = (page, name) => page.getByRole("textbox", { name, exact: true });
const fact = (page, name) => page.locator(".fact", { has: page.getByText(name, { exact: true }) });
const row = (page, text) => page.getByRole("row").filter({ hasText: text });
const inDialog = (page, name) => page.getByRole("dialog").getByRole("button", { name, exact: true });
const place = (page, name) => page.getByRole("navigation", { name: "Main" }).getByRole("link", { name, exact: true });
const badge = (page, status) => page.locator(`.page-title .badge[data-status="${status}"]`);

async function choose(world) {
  const { desk: page, look, server } = world;
  await page.getByRole("link", { name: "Back" }).click();
  await place(page, "Servers").click();
  await page.getByRole("checkbox", { name: "All shown (1)" }).check();
  await page.getByRole("checkbox", { name: `Choose ${server}`, checked: true }).waitFor();
  await page.getByText("1 chosen").waitFor();
  await everyLook(page, look, "servers-chosen");
  await button(page, "Run a command").click();
  await page.getByText("On these servers (1)").waitFor();
  holds(await button(page, "Run").isDisabled(), "nothing can be run");
  await field(page, "Command").fill(COMMAND);
  await everyLook(page, look, "command-new");
  await button(page, "Run").click();
}

async function outcome(world) {
  const { desk: page, look, server } = world;
  // without a reload
  await badge(page, "bad").waitFor();
  world.batch = new URL(page.url()).pathname;
  await button(page, "Completed with another code: 1").waitFor();
  const it = row(page, server);
  await it.getByText("Completed", { exact: true }).waitFor();
  await it.getByRole("cell", { name: "3", exact: true }).waitFor();
  await it.getByText("directly").waitFor();
  await it.getByRole("button").click();
  const said = (name, text) => page.getByRole("region", { name: `${name}: ${server}`, exact: true }).filter({ hasText: text });
  await said("Output", "hello").waitFor();
  await said("Error output", "err").waitFor();
  const taken = page.waitForEvent("download");
  await button(page, `Download: Output of ${server}`).click();
  const file = readFileSync(await (await taken).path(), "utf8");
  holds(file === "hello\n", `downloaded was ${JSON.stringify(file)}`);
  // sifted by the API, as each page of it is
  await button(page, "Completed with another code: 1").click();
  await row(page, server).waitFor();
  await button(page, "All: 1").click();
  await row(page, server).waitFor();
  await everyLook(page, look, "command");
}

async function again(world) {
  const { desk: page, look, server, batch } = world;
  await place(page, "Commands").click();
  await row(page, COMMAND).getByText("Not done everywhere").waitFor();
  await everyLook(page, look, "commands");
  await row(page, COMMAND).getByRole("link").click();
  await badge(page, "bad").waitFor();
  await button(page, "Run again").click();
  const asked = await field(page, "Command").inputValue();
  holds(asked === COMMAND, `the form has ${asked}`);
  // what is filled in is there after a reload, too
  await page.reload();
  await page.getByRole("button", { name: `Leave out ${server}` }).waitFor();
  await button(page, "Run").click();
  await badge(page, "bad").waitFor();
  holds(new URL(page.url()).pathname !== batch, "no other batch was begun");
}

async function callOff({ desk: page, look, server }) {
  await button(page, "Run again").click();
  await field(page, "Command").fill(LONG);
  await button(page, "Run").click();
  await row(page, server).getByText("Running", { exact: true }).waitFor();
  await look(page, "command-running");
  await button(page, "Call off").click();
  await inDialog(page, "Call off").waitFor();
  await look(page, "command-call-off");
  await inDialog(page, "Call off").click();
  await badge(page, "cancelled").waitFor();
  await row(page, server).getByText("Called off", { exact: true }).waitFor();
  await button(page, "Run again where it went wrong (1)").click();
  const asked = await field(page, "Command").inputValue();
  holds(asked === LONG, `the form has ${asked}`);
}

async function schedule(world) {
  const { desk: page, look } = world;
  await button(page, "Run again").click();
  await field(page, "Command").fill("true");
  await page.getByLabel("When", { exact: true }).selectOption({ label: "Again and again" });
  const set = button(page, "Set the schedule");
  holds(await set.isDisabled(), "a schedule without a name can be set");
  await field(page, "Name of the schedule").fill(SCHEDULE);
  await field(page, "Cron").fill("0 25 * * *");
  await field(page, "Time zone").fill("Europe/Berlin");
  await set.click();
  await page.getByText('the hour "25" is wrong').first().waitFor();
  await everyLook(page, look, "schedule-new");
  await field(page, "Cron").fill("0 3 * * *");
  await set.click();
  await row(page, SCHEDULE).getByText("0 3 * * *").waitFor();
  await row(page, SCHEDULE).getByText("not yet").waitFor();
  await everyLook(page, look, "schedules");
  await button(page, `Pause ${SCHEDULE}`).click();
  await row(page, SCHEDULE).getByText("Paused", { exact: true }).waitFor();
  await button(page, `Resume ${SCHEDULE}`).click();
  await button(page, `Pause ${SCHEDULE}`).waitFor();
  await button(page, `Remove ${SCHEDULE}`).click();
  await inDialog(page, "Remove").waitFor();
  await look(page, "schedule-remove");
  await inDialog(page, "Remove").click();
  await page.getByText("No schedules yet").waitFor();
  await place(page, "Commands").click();
  await page.getByRole("link", { name: "Schedules" }).click();
  await page.getByText("No schedules yet").waitFor();
}

async function register(world) {
  const { desk: page, look } = world;
  await place(page, "Relays").click();
  await page.getByText("No relays yet").waitFor();
  await look(page, "relays-none");
  await page.getByRole("link", { name: "Register a relay" }).click();
  await field(page, "Name").fill(RELAY);
  await field(page, "Zone").fill("dmz");
  await look(page, "relay-new");
  await button(page, "Register").click();
  await page.getByRole("heading", { name: "The relay is registered" }).waitFor();
  world.key = await fact(page, "apiKey").locator("code").textContent();
  holds(KEY.test(world.key), `the key is ${world.key}`);
  const variables = await fact(page, "Environment variables").locator("pre").textContent();
  holds(variables.includes(`PORTREEVE_API_KEY=${world.key}`), `the variables are ${variables}`);
  await everyLook(page, look, "relay-key");
  await page.getByRole("link", { name: "I have the key" }).click();
  await row(page, RELAY).getByText("Never connected").waitFor();
  await row(page, RELAY).getByRole("cell", { name: "dmz", exact: true }).waitFor();
  await row(page, RELAY).getByText("0 of 32").waitFor();
  holds(!(await page.content()).includes(world.key), "the key is shown again");
  await everyLook(page, look, "relays");
}

async function rotate({ desk: page, look, key }) {
  await button(page, `Another key for ${RELAY}`).click();
  await page.getByLabel("The key before counts for").selectOption({ label: "1 hour" });
  await look(page, "relay-rotate");
  await inDialog(page, "Make another key").click();
  await page.getByText("The key before counts until").waitFor();
  const other = await fact(page, "apiKey").locator("code").textContent();
  holds(KEY.test(other) && other !== key, `the other key is ${other}`);
  await look(page, "relay-rotated");
  await inDialog(page, "I have the key").click();
}

async function revoke({ desk: page, look }) {
  await button(page, `Revoke ${RELAY}`).click();
  await inDialog(page, "Revoke").waitFor();
  await look(page, "relay-revoke");
  await inDialog(page, "Revoke").click();
  await page.getByText("No relays yet").waitFor();
}

/** On the server of this name, whose terminal is open. */
export const commands = (server) => [
  ["a server is chosen for a command", (world) => choose(Object.assign(world, { server }))],
  ["what the command said is shown and taken along", outcome],
  ["the command is in the history and is run again", again],
  ["a command is called off", callOff],
  ...approvals,
  ["a command is set to be run again and again, and that is paused and removed", schedule, 422],
  ["a relay is registered, and its key shown once", register],
  ["the relay gets another key", rotate],
  ["the relay is revoked", revoke],
];
