// How does somebody get in who is not the story's subject? The short way.
export async function enter(page, { username, password }) {
  await page.goto("/");
  await page.locator('input[name="username"]').fill(username);
  await page.locator('input[name="password"]').fill(password);
  await page.keyboard.press("Enter");
  await page.locator(".shell").waitFor();
}
