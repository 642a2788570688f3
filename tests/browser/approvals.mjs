// What becomes of a command that is marked dangerous? It waits, and somebody else than who asked for it answers.
import { enter } from "./enter.mjs";
import { everyLook } from "./every_look.mjs";
import { holds } from "./until.mjs";

const RISKY = "echo risky";
const PATTERN = "*risky*";
const REASON = "not on a Friday";

const button = (page, name) => page.getByRole("button", { name, exact: true });
const field = (page, name) => page.getByRole("textbox", { name, exact: true });
const fact = (page, name) => page.locator(".fact", { has: page.getByText(name, { exact: true }) });
const row = (page, text) => page.getByRole("row").filter({ hasText: text });
const inDialog = (page, name) => page.getByRole("dialog").getByRole("button", { name, exact: true });
const badge = (page, status) => page.locator(`.page-title .badge[data-status="${status}"]`);

/** As the administrator: what the grants of the batch's server say. */
async function grant({ url, token, batch }, grants) {
  const ask = async (method, path, body) => {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const answer = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const { commands } = await ask("GET", `/api${batch}`);
  await ask("PUT", `/api/servers/${commands[0].server_id}/grants`, { grants });
}

/** From the form that the step before left open. */
async function wait(world) {
  const { desk: page, look } = world;
  await grant(world, [{ role: "operator", may: ["command"], commands: { dangerous: [PATTERN] } }]);
  await field(page, "Command").fill(RISKY);
  await button(page, "Run").click();
  await badge(page, "awaiting_approval").waitFor();
  await page.getByText("begins when another operator or administrator").waitFor();
  await fact(page, "Marked by").getByText(PATTERN, { exact: true }).waitFor();
  holds(!(await button(page, "Approve").isVisible()), "who asked may approve");
  await everyLook(page, look, "command-waits");
}

async function approve(world) {
  const { desk, look } = world;
  const page = await world.another();
  world.approver = page;
  await enter(page, world.otherOperator);
  await page.goto("/batches");
  await row(page, RISKY).getByText("Waits for approval").waitFor();
  await look(page, "commands-waiting");
  await row(page, RISKY).getByRole("link").click();
  await page.getByText("It is marked dangerous").waitFor();
  await everyLook(page, look, "command-to-approve");
  await button(page, "Approve").click();
  await inDialog(page, "Approve").waitFor();
  await look(page, "command-approve");
  await inDialog(page, "Approve").click();
  for (const each of [page, desk]) {
    // without a reload
    await badge(each, "good").waitFor();
    await fact(each, "Approved").getByText(world.otherOperator.username).waitFor();
  }
  await look(page, "command-approved");
}

async function reject(world) {
  const { desk, approver: page, look } = world;
  await button(desk, "Run again").click();
  await button(desk, "Run").click();
  await badge(desk, "awaiting_approval").waitFor();
  await page.goto(new URL(desk.url()).pathname);
  await button(page, "Reject").click();
  await field(page, "Reason").fill(REASON);
  await look(page, "command-reject");
  await inDialog(page, "Reject").click();
  for (const each of [page, desk]) {
    await badge(each, "rejected").waitFor();
    await fact(each, "Reason").getByText(REASON).waitFor();
  }
  await look(desk, "command-rejected");
  await page.context().close();
  await grant(world, []);
}

/** After a command of the operator whose page is the desk. */
export const approvals = [
  ["a command that is marked dangerous waits", wait],
  ["another operator approves of it", approve],
  ["another operator rejects one", reject],
];
