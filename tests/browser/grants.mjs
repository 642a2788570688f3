// Who may use a server? An operator grants it to somebody, who then sees it; to a group of people on a zone; and
// takes it back.
import { enter } from "./enter.mjs";
import { everyLook } from "./every_look.mjs";
import { holds } from "./until.mjs";

const GROUP = "ops";
const ZONE = "dmz";
/** What an API that knows more says of a grant. */
const MORE = { only: ["uptime*"] };
const GRANTS = /\/api\/servers\/[^/]+\/grants/;

const button = (page, name) => page.getByRole("button", { name, exact: true });
const row = (page, text) => page.getByRole("row").filter({ hasText: text });
const tab = (page, name) => page.getByRole("tab", { name, exact: true });
const inDialog = (page, name) => page.getByRole("dialog").getByRole("button", { name, exact: true });
const asked = (page, name) => page.getByRole("dialog").getByLabel(name, { exact: true });
const gone = (page) => page.getByRole("dialog").waitFor({ state: "detached" });

/** From the list to the server's page. */
export async function openServer(page, server) {
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Servers", exact: true }).click();
  await row(page, server).getByRole("link", { name: server, exact: true }).click();
  await page.getByRole("heading", { name: server }).waitFor();
}

async function grant(world) {
  const { desk: page, look, guest, server } = world;
  await openServer(page, server);
  await tab(page, "Who may").click();
  await page.getByText("Nothing is granted here").waitFor();
  await look(page, "server-who-may-none");
  await button(page, "Grant something").click();
  holds(await inDialog(page, "Grant").isDisabled(), "something can be granted to nobody");
  await asked(page, "User name").fill(guest.username);
  await asked(page, "run commands").check();
  await look(page, "grant-new");
  await inDialog(page, "Grant").click();
  await row(page, guest.username).getByText("open a terminal, run commands").waitFor();
  await gone(page);
  const other = await world.another();
  await enter(other, guest);
  await openServer(other, server);
  await other.getByText("open a terminal, run commands").waitFor();
  holds(!(await tab(other, "Who may").isVisible()), "a developer is shown who else may");
  await look(other, "server-granted");
  await other.context().close();
}

/** What this page does not know of a grant goes back as it came. */
async function change({ desk: page, look, guest, another, server }) {
  let sent;
  await page.route(GRANTS, async (route) => {
    if (route.request().method() === "GET") {
      const response = await route.fetch();
      const { grants, ...rest } = await response.json();
      return route.fulfill({ response, json: { ...rest, grants: grants.map((each) => ({ ...each, conditions: MORE })) } });
    }
    sent = route.request().postDataJSON().grants;
    const known = sent.map(({ conditions: _, ...each }) => each);
    return route.continue({ postData: JSON.stringify({ grants: known }) });
  });
  await page.reload();
  await tab(page, "Who may").click();
  await row(page, guest.username).getByText('conditions: {"only":["uptime*"]}').waitFor();
  await button(page, `Change what ${guest.username} may`).click();
  await asked(page, "run commands").uncheck();
  await asked(page, "From").fill("2026-01-02T03:04");
  await asked(page, "Until").fill("2026-01-01T00:00");
  await inDialog(page, "Save").click();
  await page.getByRole("dialog").getByText("must be after from").first().waitFor();
  await look(page, "grant-wrong");
  await asked(page, "From").fill("");
  await inDialog(page, "Save").click();
  await gone(page);
  await row(page, guest.username).getByText("over", { exact: true }).waitFor();
  const [only, ...others] = sent;
  holds(others.length === 0 && JSON.stringify(only.conditions) === JSON.stringify(MORE), `sent was ${JSON.stringify(sent)}`);
  holds(only.user === guest.username && only.may.join() === "terminal" && !("from" in only), `sent was ${JSON.stringify(only)}`);
  await page.unroute(GRANTS);
  await page.reload();
  await tab(page, "Who may").click();
  await row(page, guest.username).getByText("over", { exact: true }).waitFor();
  await everyLook(page, look, "server-who-may");
  const other = await another();
  await enter(other, guest);
  await other.goto("/servers");
  await other.getByText("Nothing is granted to you on any server yet").waitFor();
  await other.context().close();
  await button(page, `Take back what ${guest.username} may`).click();
  await look(page, "grant-take-back");
  await inDialog(page, "Take back").click();
  await page.getByText("Nothing is granted here").waitFor();
  await page.getByRole("heading", { name: server }).waitFor();
}

async function group({ desk: page, look, guest }) {
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Servers", exact: true }).click();
  await page.getByRole("link", { name: "Grants", exact: true }).click();
  await page.getByText("Nothing is granted here").waitFor();
  await look(page, "grants-none");
  await tab(page, "Groups of people").click();
  await page.getByText("No groups yet").waitFor();
  await button(page, "New group").click();
  await asked(page, "Name").fill(GROUP);
  await asked(page, "Members").fill(`${guest.username} olga`);
  await look(page, "people-new");
  await inDialog(page, "Save").click();
  await gone(page);
  await row(page, GROUP).getByText(`${guest.username}, olga`).waitFor();
  // another of this name would take the place of the first
  await button(page, "New group").click();
  await asked(page, "Name").fill(GROUP);
  await asked(page, "Members").fill("nobody");
  await inDialog(page, "Save").click();
  await page.getByText("There is a group of this name").waitFor();
  await inDialog(page, "Cancel").click();
  await everyLook(page, look, "people");
}

async function zone(world) {
  const { desk: page, look, guest, server } = world;
  await tab(page, "On servers").click();
  await button(page, "Grant something").click();
  await asked(page, "Name").fill(ZONE);
  await asked(page, "To").selectOption({ label: "Group of people" });
  await asked(page, "Which group").fill(GROUP);
  await asked(page, "open a terminal").uncheck();
  await asked(page, "see facts").check();
  await look(page, "grant-zone-new");
  await inDialog(page, "Grant").click();
  await gone(page);
  await page.getByRole("region", { name: `Zone ${ZONE}` }).getByRole("row").filter({ hasText: GROUP }).getByText("see facts").waitFor();
  await everyLook(page, look, "grants");
  await openServer(page, server);
  await page.getByRole("textbox", { name: "Zone", exact: true }).fill(ZONE);
  await button(page, "Save").click();
  await page.getByText("Saved", { exact: true }).waitFor();
  await tab(page, "Who may").click();
  await page.getByRole("region", { name: `Zone ${ZONE}` }).getByRole("row").filter({ hasText: GROUP }).waitFor();
  await everyLook(page, look, "server-who-may-by-zone");
  const other = await world.another();
  await enter(other, guest);
  await openServer(other, server);
  await other.getByText("see facts").waitFor();
  await tab(other, "Facts").waitFor();
  await other.context().close();
}

async function takeBack({ desk: page, look }) {
  await page.getByRole("link", { name: `Zone ${ZONE}` }).click();
  await tab(page, "Groups of people").click();
  await button(page, `End ${GROUP}`).click();
  await look(page, "people-end");
  await inDialog(page, "End the group").click();
  await page.getByText("No groups yet").waitFor();
  await tab(page, "On servers").click();
  await button(page, `Take back what ${GROUP} may`).click();
  await inDialog(page, "Take back").click();
  await page.getByText("Nothing is granted here").waitFor();
}

export const grants = [
  ["a server is granted to somebody, who sees it", grant],
  ["a grant is changed, and what the page does not know of it stays", change, 422],
  ["a group of people", group],
  ["something is granted on a zone, and holds for its servers", zone],
];

export const afterwards = [["what was granted is taken back", takeBack]];
