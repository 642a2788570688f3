// What does a person do in the terminal of the browser? From the first prompt to the replay of what was recorded.
import { SHOWN_AT_MOST_MS } from "./chromium.mjs";
import { holds, until } from "./until.mjs";
import { way } from "./way.mjs";

/** How long `yes` may say so. */
const FLOOD_MS = 10_000;
/** A page that answers later than this within the flood is lost to its person. */
const ANSWERS_WITHIN_MS = 2_000;
/** Until a silent connection counts as gone, and until somebody is back, each with time to spare. */
const NOTICED_AT_MOST_MS = 30_000;
const BACK_AT_MOST_MS = 40_000;

const button = (page, name) => page.getByRole("button", { name, exact: true });
const row = (page, text) => page.getByRole("row").filter({ hasText: text });

/** The lines that are on the screen, as a screen reader has them. */
async function lines(page) {
  return page.locator(".xterm-accessibility-tree > div").allTextContents().then((all) => all.map((line) => line.replaceAll("\u00a0", " ").trimEnd()));
}

export async function shows(page, text, at_most_ms = SHOWN_AT_MOST_MS) {
  await until(`the terminal shows ${text}`, at_most_ms, async () => {
    const shown = await lines(page);
    holds(shown.some((line) => text instanceof RegExp ? text.test(line) : line === text), `it shows ${JSON.stringify(shown.filter((line) => line !== ""))}`);
  });
}

export const connected = (page, at_most_ms = SHOWN_AT_MOST_MS) => page.locator(".terminal-head .badge", { hasText: "Connected" }).waitFor({ timeout: at_most_ms });

/** Ends the line that is being typed, if any, and runs `command`. */
export async function run(page, command) {
  await page.locator(".xterm-helper-textarea").focus();
  await page.keyboard.type(`${command}\n`);
}

/** The lines as text too, so that they can be read here. */
export async function speak(page) {
  const spoken = button(page, "Text for screen readers");
  if ((await spoken.getAttribute("aria-pressed")) !== "true") await spoken.click();
}

/** Opens the terminal of the environment, with its lines as text. */
async function open(page, id) {
  await page.goto(`/terminal/${id}`);
  await connected(page);
  await speak(page);
  await shows(page, /\$$/);
}

async function openAndType(world) {
  const { page, look, id } = world;
  await page.goto(`/environments/${id}`);
  await page.getByRole("link", { name: "Open terminal" }).click();
  await connected(page);
  await run(page, "echo $((6*7)) 你好; id -un");
  await speak(page);
  await shows(page, "42 你好");
  await shows(page, "developer");
  await page.locator(".latency").waitFor();
  await look(page, "terminal");
}

/** The shell's own idea of its size. */
async function sizeIs(page) {
  await run(page, "clear; stty size");
  return until("the shell says its size", SHOWN_AT_MOST_MS, async () => {
    const said = (await lines(page)).map((line) => /^(\d+) (\d+)$/.exec(line)).find(Boolean);
    holds(said, `no size among ${JSON.stringify(await lines(page))}`);
    return { rows: Number(said[1]), cols: Number(said[2]) };
  });
}

async function resize({ page }) {
  const before = await sizeIs(page);
  await page.setViewportSize({ width: 900, height: 560 });
  await until("the shell's size follows the window", SHOWN_AT_MOST_MS, async () => {
    const now = await sizeIs(page);
    holds(now.rows < before.rows && now.cols < before.cols, `from ${JSON.stringify(before)} to ${JSON.stringify(now)}`);
    const drawn = await page.locator(".xterm-accessibility-tree > div").count();
    holds(drawn === now.rows, `${drawn} rows are drawn`);
  });
  await page.setViewportSize({ width: 1280, height: 900 });
  await until("and back", SHOWN_AT_MOST_MS, async () => {
    const now = await sizeIs(page);
    holds(now.rows === before.rows && now.cols === before.cols, `from ${JSON.stringify(before)} to ${JSON.stringify(now)}`);
  });
}

/** More than a frame carries arrives whole, and what is selected is copied. */
async function pasteAndCopy({ page }) {
  const pasted = Array.from({ length: 4_000 }, (_, line) => `line ${line} ☃`).join("\n");
  await run(page, "clear; echo re''ady; cat >/tmp/pasted; wc -c </tmp/pasted");
  await shows(page, "ready");
  await page.evaluate((text) => navigator.clipboard.writeText(text), `${pasted}\n`);
  await page.keyboard.press("Control+Shift+V");
  await page.keyboard.press("Control+D");
  await shows(page, String(Buffer.byteLength(pasted) + 1));
  await run(page, "clear; echo copy-m''e");
  await shows(page, "copy-me");
  await page.evaluate(() => navigator.clipboard.writeText("nothing yet"));
  const first = await page.locator(".xterm-screen").boundingBox();
  await page.mouse.dblclick(first.x + 8, first.y + 8);
  await page.keyboard.press("Control+Shift+C");
  await until("the selection is in the clipboard", SHOWN_AT_MOST_MS, async () => {
    const text = await page.evaluate(() => navigator.clipboard.readText());
    holds(text.trim() === "copy-me", `there is ${JSON.stringify(text)}`);
  });
}

async function find({ page, look }) {
  await run(page, "clear; seq 1 300");
  await shows(page, "300");
  await page.keyboard.press("Control+Shift+F");
  const field = page.getByRole("textbox", { name: "Search" });
  await field.fill("213");
  await page.keyboard.press("Enter");
  await shows(page, "213");
  await look(page, "terminal-find");
  await field.fill("no such line");
  await page.keyboard.press("Enter");
  await page.getByText("Not found").waitFor();
  await page.keyboard.press("Escape");
  await run(page, "clear");
}

async function flood({ page }) {
  // as it is for most people: a picture, and no text beside it
  await button(page, "Text for screen readers").click();
  await run(page, "yes $(seq 1 30)");
  const end = Date.now() + FLOOD_MS;
  while (Date.now() < end) {
    const began = Date.now();
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn))));
    const took = Date.now() - began;
    holds(took < ANSWERS_WITHIN_MS, `in the flood the page answered after ${took} ms`);
  }
  await connected(page);
  await page.keyboard.press("Control+C");
  await button(page, "Text for screen readers").click();
  await run(page, "clear; echo aft''er");
  await shows(page, "after");
}

async function reload({ page, id }) {
  await run(page, "clear; kept=here-$((2*21))");
  await page.reload();
  await connected(page);
  await run(page, "echo still $kept");
  await shows(page, "still here-42");
  holds(new URL(page.url()).pathname === `/terminal/${id}`, `the reload led to ${page.url()}`);
}

/** Another browser, whose way to the server is cut. */
async function drop(world) {
  const between = await way(world.url);
  try {
    const page = await world.another({ baseURL: between.url });
    await world.enter(page);
    await open(page, world.id);
    await run(page, "clear; kept=there-$((2*21)); (sleep 3; echo meanwhile) & echo kep''t");
    await shows(page, "kept");
    world.complaints.cut = true;
    between.cut();
    await page.locator(".terminal-head .badge", { hasText: "Reconnecting" }).waitFor({ timeout: NOTICED_AT_MOST_MS });
    await world.look(page, "terminal-broken");
    between.mend();
    await connected(page, BACK_AT_MOST_MS);
    world.complaints.cut = false;
    await shows(page, /meanwhile/);
    await run(page, "clear; echo still $kept");
    await shows(page, "still there-42");
    await run(page, "exit");
    await page.getByText("The shell ended with code 0.").waitFor();
    await world.look(page, "terminal-ended");
    await page.context().close();
  } finally {
    between.close();
  }
}

async function share(world) {
  const { page, look } = world;
  await button(page, "Share").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Create link" }).click();
  await dialog.getByText("nobody there").waitFor();
  const link = await dialog.locator(".shares code").textContent();
  const guest = await world.another();
  await world.enter(guest, world.guest);
  await guest.goto(new URL(link).pathname);
  await connected(guest);
  await guest.getByText("View only").waitFor();
  await button(guest, "Text for screen readers").click();
  // both see who is here
  for (const each of [page, guest]) {
    await each.locator(".terminal-people", { hasText: world.guest.username }).waitFor();
    await each.locator(".terminal-people", { hasText: world.username }).waitFor();
  }
  await dialog.locator(".shares", { hasText: world.guest.username }).waitFor();
  await look(page, "terminal-sharing");
  await page.keyboard.press("Escape");
  await run(page, "clear; echo look he''re");
  await shows(guest, "look here");
  await look(guest, "terminal-shared");
  // what a viewer types goes nowhere
  await run(guest, "echo not m''e");
  await run(page, "echo and th''ere");
  await shows(guest, "and there");
  holds(!(await lines(page)).some((line) => line.includes("not me") || line.includes("not m''e")), "a viewer typed");
  await button(page, "Share").click();
  await dialog.getByRole("button", { name: "End" }).click();
  await guest.getByText("This share has ended").waitFor();
  await page.locator(".terminal-people").waitFor({ state: "detached" });
  // a link to type by
  await dialog.getByLabel("They may").selectOption({ label: "View and type" });
  await dialog.getByRole("button", { name: "Create link" }).click();
  const second = await dialog.locator(".shares code").textContent();
  await guest.goto(new URL(second).pathname);
  await connected(guest);
  await run(guest, "clear; echo typed by a gue''st");
  await page.keyboard.press("Escape");
  await shows(page, "typed by a guest");
  await guest.context().close();
}

/** An administrator says that terminals are recorded; a shell is, and is looked at again. */
async function record(world) {
  const { page, look, id } = world;
  const administrator = await world.another();
  await administrator.goto("/");
  await administrator.getByRole("tab", { name: "API token" }).click();
  await administrator.locator('input[name="token"]').fill(world.token);
  await administrator.keyboard.press("Enter");
  await administrator.locator(".shell").waitFor();
  await administrator.goto(`/environments/${id}`);
  await administrator.getByRole("tab", { name: "Recordings" }).click();
  await administrator.getByLabel("Record the terminals of this tenant").check();
  await administrator.getByText("Terminals of this tenant are recorded").first().waitFor();
  await look(administrator, "recordings-administrator");
  await administrator.context().close();

  // the shell of before is left for one that is recorded
  await run(page, "exit");
  await button(page, "New shell").click();
  await connected(page);
  await shows(page, /\$$/);
  await run(page, "clear; echo this is record''ed; exit");
  await button(page, "New shell").waitFor();
  await page.goto(`/environments/${id}`);
  await page.getByRole("tab", { name: "Recordings" }).click();
  const recorded = row(page, world.username).filter({ hasText: "Web terminal" });
  await recorded.first().getByRole("button", { name: "Replay" }).click();
  await page.locator(".player-screen", { hasText: "this is recorded" }).waitFor();
  await look(page, "recording");
  await page.getByRole("button", { name: "Play", exact: true }).waitFor();
  await page.getByRole("slider", { name: "Position" }).fill("0");
  await page.getByRole("button", { name: "Play", exact: true }).click();
  await page.locator(".player-screen", { hasText: "this is recorded" }).waitFor();
}

/** In whatever language, colours and width. */
export async function lookAtTerminal(page, { id, look }, kind) {
  await page.goto(`/terminal/${id}`);
  await page.locator(".terminal-head .badge.good").waitFor();
  await run(page, "clear; ls -l --color=always /");
  await page.locator(".latency").waitFor();
  await look(page, `${kind}-terminal`);
  await run(page, "exit");
  await page.locator(".terminal-end").waitFor();
}

export async function lookAtRecording(page, { id, look, username }, kind) {
  await page.goto(`/environments/${id}`);
  await page.getByRole("tab").nth(2).click();
  await row(page, username).first().getByRole("button").first().click();
  await page.locator(".player-screen .ap-terminal").waitFor();
  // its length is known, however short it was
  await page.locator('.player input[type="range"]:enabled').waitFor();
  await look(page, `${kind}-recording`);
}

export const terminal = [
  ["the terminal opens and one types", openAndType],
  ["the shell is as large as the window", resize],
  ["paste and copy", pasteAndCopy],
  ["find", find],
  ["ten seconds of yes", flood],
  ["a reload leads back to the same shell", reload],
  ["a dropped network leads back to the same shell", drop],
  ["a shell is shared", share],
  ["a shell is recorded and looked at again", record],
];
