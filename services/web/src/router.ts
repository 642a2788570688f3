// Which page is shown? The address decides; a link changes it without a reload.
import { signal } from "@preact/signals";

export const path = signal(location.pathname);

addEventListener("popstate", () => (path.value = location.pathname));

export function go(to: string, replace = false, along: unknown = null): void {
  if (to === location.pathname) return;
  if (replace) history.replaceState(along, "", to);
  else history.pushState(along, "", to);
  path.value = location.pathname;
  scrollTo(0, 0);
}

/** What the page before gave along; it stays when the page is loaded anew. */
export const broughtAlong = (): unknown => history.state;

// One listener for all links: those to ourselves, pressed plainly, change the page in place.
addEventListener("click", (click) => {
  if (click.defaultPrevented || click.button !== 0 || click.metaKey || click.ctrlKey || click.shiftKey || click.altKey)
    return;
  const link = click.composedPath().find((node): node is HTMLAnchorElement => node instanceof HTMLAnchorElement);
  if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (!isPage(link.pathname)) return;
  click.preventDefault();
  go(link.pathname);
});

const PAGES = [/^\/$/, /^\/sign-in$/, /^\/environments(\/|$)/, /^\/servers(\/|$)/, /^\/relays(\/|$)/, /^\/batches(\/|$)/, /^\/schedules$/, /^\/terminal\//, /^\/shares\//, /^\/keys$/, /^\/events$/];

function isPage(pathname: string): boolean {
  return PAGES.some((page) => page.test(pathname));
}

/** The part of the address after `prefix`, if that is where we are: `/environments/` -> `env-...`. */
export function under(prefix: string): string | null {
  if (!path.value.startsWith(prefix)) return null;
  const rest = path.value.slice(prefix.length);
  return rest === "" || rest.includes("/") ? null : decodeURIComponent(rest);
}
