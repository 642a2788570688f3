// Is a page as wide as its screen at most? What is long scrolls in a place of its own.
import { holds } from "./until.mjs";

export async function fits(page, name) {
  // not innerWidth: a phone that zooms out to show everything counts as wider
  const screen = page.viewportSize().width;
  const content = await page.evaluate(() => document.documentElement.scrollWidth);
  holds(content <= screen, `"${name}" is ${content} px wide on a screen of ${screen}`);
}
