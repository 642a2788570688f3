// On which servers is a command to be run? A box in each row, and what is done with those that are chosen.
import { toForm } from "../batches/draft";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { CheckField } from "../parts/field";
import { mayRun } from "./server";
import type { Server } from "./server";

/** Names by id; they stay chosen when a search hides them. */
export type Chosen = ReadonlyMap<string, string>;

function changed(chosen: Chosen, servers: readonly Server[], isChosen: boolean): Chosen {
  const next = new Map(chosen);
  for (const { server_id, name } of servers) {
    if (isChosen) next.set(server_id, name);
    else next.delete(server_id);
  }
  return next;
}

export interface Choosing {
  chosen: Chosen;
  onChosen(chosen: Chosen): void;
}

export function Selection({ shown, chosen, onChosen }: { shown: readonly Server[] } & Choosing) {
  const offered = shown.filter(mayRun);
  if (offered.length === 0 && chosen.size === 0) return null;
  const isAll = offered.length > 0 && offered.every((each) => chosen.has(each.server_id));
  const run = () => toForm({ servers: [...chosen].map(([server_id, name]) => ({ server_id, name })) });
  return (
    <div class="selection" role="group" aria-label={t("servers.selection")}>
      <CheckField label={t("servers.select_all", { n: offered.length })} checked={isAll} onChecked={(wanted) => onChosen(changed(chosen, offered, wanted))} />
      <span class="muted" role="status">
        {t("servers.selected", { n: chosen.size })}
      </span>
      <Button kind="primary" icon="command" disabled={chosen.size === 0} onPress={run}>
        {t("batches.new")}
      </Button>
    </div>
  );
}

export function SelectBox({ it, chosen, onChosen }: { it: Server } & Choosing) {
  return (
    <td class="row-select">
      {mayRun(it) && (
        <label>
          <input
            type="checkbox"
            aria-label={t("servers.select", { name: it.name })}
            checked={chosen.has(it.server_id)}
            onChange={(event) => onChosen(changed(chosen, [it], event.currentTarget.checked))}
          />
        </label>
      )}
    </td>
  );
}
