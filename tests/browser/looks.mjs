// How is it for others? Each page in Chinese, in the dark, on a phone; an administrator; the keyboard alone.
import { enter } from "./enter.mjs";
import { fits } from "./fits.mjs";
import { lookAtRecording, lookAtTerminal } from "./terminal.mjs";
import { holds } from "./until.mjs";

// one point a pixel: Chromium does not tell the terminal's canvas of a scale that is only played
const PHONE = { viewport: { width: 375, height: 740 }, isMobile: true, hasTouch: true };
/** More presses than any page of the story has places. */
const TABS_MAX = 40;
const PAGES = (id) => [
  ["environments", "/environments"],
  ["create", "/environments/new"],
  ["environment", `/environments/${id}`],
  ["servers", "/servers"],
  ["commands", "/batches"],
  ["command-new", "/batches/new"],
  ["schedules", "/schedules"],
  ["keys", "/keys"],
  ["events", "/events"],
];

async function tour(world, look, kind, prepare) {
  const page = await world.another(look);
  await page.goto("/");
  await page.locator('input[name="username"]').waitFor();
  await prepare(page);
  await fits(page, "sign-in");
  await world.look(page, `${kind}-sign-in`);
  await enter(page, world);
  for (const [name, path] of PAGES(world.id)) {
    await page.goto(path);
    await page.locator("main h1").waitFor();
    await page.waitForFunction(() => !document.querySelector(".waiting"));
    await fits(page, name);
    await world.look(page, `${kind}-${name}`);
  }
  await lookAtTerminal(page, world, kind);
  await fits(page, "terminal");
  await lookAtRecording(page, world, kind);
  await fits(page, "recording");
  return page;
}

async function chinese(world) {
  const page = await tour(world, {}, "chinese", async (at) => {
    await at.getByRole("button", { name: "切换到中文" }).click();
    await at.getByRole("button", { name: "登录" }).waitFor();
  });
  holds((await page.locator("html").getAttribute("lang")) === "zh-Hans", "the page does not say that it is Chinese");
  await page.getByRole("tab", { name: "录像" }).waitFor();
  await page.context().close();
}

async function dark(world) {
  const page = await tour(world, { colorScheme: "dark" }, "dark", async (at) => {
    const ground = await at.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    holds(/^rgb\((\d|[1-5]\d), /.test(ground), `in the dark the page's ground is ${ground}`);
  });
  await page.context().close();
}

async function phone(world) {
  const page = await tour(world, PHONE, "phone", async () => {});
  await page.context().close();
}

/** By the token that the first start left; the list follows what happens elsewhere. */
async function administrator({ another, look, token, username, id }) {
  const page = await another();
  await page.goto("/");
  await page.getByRole("tab", { name: "API token" }).click();
  await look(page, "administrator-sign-in");
  await page.locator('input[name="token"]').fill(token);
  await page.keyboard.press("Enter");
  const row = page.getByRole("row").filter({ hasText: username });
  await row.locator('[data-status="stopped"]').waitFor();
  const beside = await page.context().newPage();
  await beside.goto(`/environments/${id}`);
  await beside.getByRole("button", { name: "Start" }).click();
  await row.locator('[data-status="running"]').waitFor();
  await look(page, "administrator-environments");
  await page.context().close();
}

/** Presses Tab until it is there. */
async function tabTo(page, place) {
  for (let presses = 0; presses < TABS_MAX; presses += 1) {
    await page.keyboard.press("Tab");
    if (await place.evaluate((element) => element === document.activeElement)) return;
  }
  throw new Error(`${TABS_MAX} tabs do not lead to ${place}`);
}

async function keyboard({ another, username, password, id }) {
  const page = await another();
  await page.goto("/");
  await page.locator('input[name="username"]').waitFor();
  await tabTo(page, page.locator('input[name="username"]'));
  await page.keyboard.type(username);
  await tabTo(page, page.locator('input[name="password"]'));
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
  await page.locator(".shell").waitFor();
  await page.goto(`/environments/${id}`);
  const reset = page.getByRole("button", { name: "Reset" });
  await reset.waitFor();
  await page.keyboard.press("Tab");
  holds(await page.getByText("Skip to content").evaluate((it) => it === document.activeElement), "the way past the menu is not the first");
  await tabTo(page, reset);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  holds(await reset.evaluate((it) => it === document.activeElement), "a closed dialog does not give the focus back");
  await tabTo(page, page.getByRole("tab", { name: "Progress" }));
  await page.keyboard.press("ArrowRight");
  await page.getByRole("tab", { name: "Sessions", selected: true }).waitFor();
  await page.keyboard.press("End");
  await page.getByRole("tab", { name: "Allow-list", selected: true }).waitFor();
  await page.context().close();
}

export const looks = [
  ["an administrator, by token", administrator],
  ["by the keyboard alone", keyboard],
  ["in Chinese", chinese],
  ["in the dark", dark],
  ["on a phone", phone],
];
