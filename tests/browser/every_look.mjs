// How does a page look to others? As it stands, also in the dark, in Chinese and on a narrow screen.
import { fits } from "./fits.mjs";

const NARROW = { width: 375, height: 740 };

const button = (page, name) => page.getByRole("button", { name, exact: true });

export async function everyLook(page, look, name) {
  await look(page, name);
  await button(page, "Switch to dark").click();
  await look(page, `dark-${name}`);
  await button(page, "Switch to light").click();
  await button(page, "切换到中文").click();
  await look(page, `chinese-${name}`);
  await button(page, "Switch to English").click();
  const wide = page.viewportSize();
  await page.setViewportSize(NARROW);
  await fits(page, name);
  await look(page, `narrow-${name}`);
  await page.setViewportSize(wide);
}
