// What is the machine itself? What it said when it was asked last, and a button that asks it again.
import { fresh, get, postWithin } from "../api";
import { useAct } from "../asked";
import { useFollowed } from "../happenings";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Fact } from "../parts/fact";
import { Nothing, Trouble, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { mayWrite } from "../session";
import { amount, bytes, duration } from "../shown";
import { Outcome } from "./outcome";
import { LOOKS_WITHIN_MS, concerns } from "./server";
import type { Server, Test } from "./server";

interface Facts {
  hostname: string;
  system: { id: string; name: string; version?: string };
  kernel: string;
  kernel_release: string;
  machine: string;
  virtualisation?: string;
  cpu_model?: string;
  cpus: number;
  memory_kib: number;
  swap_kib: number;
  disks: { device: string; mount: string; kind?: string; size_kib: number; used_kib: number }[];
  addresses: { interface?: string; address: string }[];
  uptime_s?: number;
}

interface Known {
  facts: Facts | null;
  gathered_at: string | null;
  /** How it went to get there, in the answer of the asking itself. */
  test: Test | null;
}

const kib = (count: number) => bytes(count * 1024);
const Unknown = () => <span class="muted">–</span>;

/** `failed` is kept by whoever shows this among other things. */
export function ServerFacts({ it, failed, onAsked }: { it: Server; failed: Test | undefined; onAsked(failed: Test | undefined): void }) {
  const path = `/api/servers/${it.server_id}/facts`;
  const asked = useFollowed(
    async (signal) => (await get<Known>(fresh(path), signal)).body,
    concerns(it.server_id),
    [path],
  );
  const { busy, problem, act } = useAct();
  const ask = () =>
    act(async () => {
      const { test } = (await postWithin<Known>(LOOKS_WITHIN_MS, path, {})).body;
      onAsked(test && !test.ok ? test : undefined);
      asked.again();
    });
  const known = asked.value;
  return (
    <>
      <div class="card-head">
        <p class="muted">
          {known?.gathered_at ? (
            <>
              {t("facts.gathered")} <Ago time={known.gathered_at} />
            </>
          ) : (
            t("facts.lead")
          )}
        </p>
        {mayWrite() && (
          <Button icon="reset" busy={busy} onPress={ask}>
            {t("facts.ask")}
          </Button>
        )}
      </div>
      {problem && <Trouble problem={problem} />}
      {failed && <Outcome test={failed} />}
      <Unanswered asked={asked} />
      {known && !known.facts && <Nothing icon="server" title={t("facts.none")} />}
      {known?.facts && <Shown facts={known.facts} />}
    </>
  );
}

function Shown({ facts }: { facts: Facts }) {
  const cpu = facts.cpu_model === undefined ? amount(facts.cpus) : t("facts.cpu.of", { n: facts.cpus, model: facts.cpu_model });
  return (
    <>
      <section class="panel" aria-label={t("facts")}>
        <dl class="facts">
          <Fact name={t("facts.hostname")}>{facts.hostname}</Fact>
          <Fact name={t("facts.system")}>{facts.system.name}</Fact>
          <Fact name={t("facts.kernel")}>
            {facts.kernel} {facts.kernel_release} {facts.machine}
          </Fact>
          <Fact name={t("facts.virtualisation")}>{facts.virtualisation ?? <Unknown />}</Fact>
          <Fact name={t("facts.cpu")}>{cpu}</Fact>
          <Fact name={t("facts.memory")}>{kib(facts.memory_kib)}</Fact>
          <Fact name={t("facts.swap")}>{kib(facts.swap_kib)}</Fact>
          <Fact name={t("facts.uptime")}>{facts.uptime_s === undefined ? <Unknown /> : duration(facts.uptime_s)}</Fact>
          <Fact name={t("facts.addresses")}>{facts.addresses.map((each) => (each.interface === undefined ? each.address : `${each.interface} ${each.address}`)).join(", ") || <Unknown />}</Fact>
        </dl>
      </section>
      {facts.disks.length > 0 && <Disks items={facts.disks} />}
    </>
  );
}

function Disks({ items }: { items: Facts["disks"] }) {
  return (
    <table class="rows" aria-label={t("facts.disks")}>
      <thead>
        <tr>
          <th scope="col">{t("facts.disk")}</th>
          <th scope="col">{t("facts.mount")}</th>
          <th scope="col">{t("facts.kind")}</th>
          <th scope="col">{t("facts.used")}</th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <tr key={each.mount}>
            <th scope="row">
              <code class="breaks">{each.device}</code>
            </th>
            <td data-label={t("facts.mount")}>
              <code class="breaks">{each.mount}</code>
            </td>
            <td data-label={t("facts.kind")}>{each.kind ?? <Unknown />}</td>
            <td data-label={t("facts.used")}>{t("quota.of", { used: kib(each.used_kib), limit: kib(each.size_kib) })}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
