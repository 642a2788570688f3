// How far has a batch come? A bar, and beside it the same in words, by which the servers below are sifted.
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { STANDINGS, countOf, endedOf } from "./batch";
import type { Batch, Standing } from "./batch";

export type Sifted = Standing | "all";

export function Progress({ it, sifted, onSift }: { it: Batch; sifted: Sifted; onSift(sifted: Sifted): void }) {
  // what is pressed stays, also when the last of them has gone on
  const there = STANDINGS.filter((standing) => countOf(it, standing) > 0 || standing === sifted);
  const words = t("batch.progress", { ended: endedOf(it), all: it.servers });
  return (
    <section class="panel progress" aria-labelledby="batch-progress">
      <h2 id="batch-progress">{t("progress")}</h2>
      <Bar it={it} words={words} />
      <p>{words}</p>
      <div class="choices" role="group" aria-label={t("batch.sift")}>
        <Button pressed={sifted === "all"} onPress={() => onSift("all")}>
          {t("batch.count.all", { n: it.servers })}
        </Button>
        {there.map((standing) => (
          <Button key={standing} pressed={sifted === standing} onPress={() => onSift(standing)}>
            {t(`batch.count.${standing}`, { n: countOf(it, standing) })}
          </Button>
        ))}
      </div>
    </section>
  );
}

function Bar({ it, words }: { it: Batch; words: string }) {
  let from = 0;
  const parts = STANDINGS.map((standing) => {
    const count = countOf(it, standing);
    from += count;
    return <rect key={standing} class={standing} x={from - count} y={0} width={count} height={1} />;
  });
  return (
    <div class="batch-bar" role="progressbar" aria-labelledby="batch-progress" aria-valuemin={0} aria-valuemax={it.servers} aria-valuenow={endedOf(it)} aria-valuetext={words}>
      <svg viewBox={`0 0 ${Math.max(it.servers, 1)} 1`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
        {parts}
      </svg>
    </div>
  );
}
