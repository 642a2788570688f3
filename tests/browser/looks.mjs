// How does it look to others? Each page in Chinese, in the dark, and on a phone.
import { enter } from "./story.mjs";
import { holds } from "./until.mjs";

const PHONE = { viewport: { width: 375, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
const PAGES = (id) => [
  ["environments", "/environments"],
  ["create", "/environments/new"],
  ["environment", `/environments/${id}`],
  ["keys", "/keys"],
  ["events", "/events"],
];

/** Nothing is wider than the screen; what is long scrolls in a place of its own. */
async function fits(page, name) {
  const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  holds(content <= screen, `"${name}" is ${content} px wide on a screen of ${screen}`);
}

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
  return page;
}

async function chinese(world) {
  const page = await tour(world, {}, "chinese", async (at) => {
    await at.getByRole("button", { name: "切换到中文" }).click();
    await at.getByRole("button", { name: "登录" }).waitFor();
  });
  holds((await page.locator("html").getAttribute("lang")) === "zh-Hans", "the page does not say that it is Chinese");
  await page.getByRole("heading", { name: "事件" }).waitFor();
  await page.context().close();
}

async function dark(world) {
  const page = await tour(world, { colorScheme: "dark" }, "dark", async (at) => {
    const back = await at.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [red = 255] = back.match(/\d+/g)?.map(Number) ?? [];
    holds(red < 64, `in the dark the page's ground is ${back}`);
  });
  await page.context().close();
}

async function phone(world) {
  const page = await tour(world, PHONE, "phone", async () => {});
  await page.context().close();
}

export const looks = [
  ["in Chinese", chinese],
  ["in the dark", dark],
  ["on a phone", phone],
];
