// What shall the new environment be? A form that shows what the quota leaves.
import { useState } from "preact/hooks";
import { post } from "../api";
import { useAct, useOnce } from "../asked";
import { t } from "../i18n/words";
import { Button, LinkButton } from "../parts/button";
import { AreaField, CheckField, SelectField, TextField } from "../parts/field";
import { Trouble } from "../parts/notice";
import { go } from "../router";
import { amount } from "../shown";
import type { Resources } from "./environment";
import { MEASURES, beyond, left, useQuota } from "./quota";
import { rememberShown } from "./revealed";

const SIZES = [
  ["small", { cpu: 1, memory: 2 }],
  ["medium", { cpu: 2, memory: 4 }],
  ["large", { cpu: 4, memory: 8 }],
] as const;

const HOUR_S = 3600;
const LIVES_S = ["", String(8 * HOUR_S), String(24 * HOUR_S), String(7 * 24 * HOUR_S), String(30 * 24 * HOUR_S)];

/** Lines of a text, without the empty ones. */
const linesOf = (text: string) => text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
const numberOf = (text: string) => (text.trim() === "" ? NaN : Number(text));

export function Create() {
  const [name, setName] = useState("");
  const [cpu, setCpu] = useState("1");
  const [memory, setMemory] = useState("2");
  const [storage, setStorage] = useState("10");
  const [gpu, setGpu] = useState("0");
  const [jupyter, setJupyter] = useState(false);
  const [life, setLife] = useState("");
  const [keys, setKeys] = useState("");
  const [ranges, setRanges] = useState("");
  const [image, setImage] = useState("");
  const once = useOnce();
  const { busy, problem, act } = useAct();
  const quota = useQuota();
  const resources: Resources = { cpu: numberOf(cpu), memory: numberOf(memory), storage: numberOf(storage), gpu: numberOf(gpu) };
  const over = quota ? beyond(quota, resources) : [];

  const create = () =>
    act(async () => {
      const body = {
        name: name.trim(),
        resources,
        jupyter,
        ...(life === "" ? {} : { ttl_s: Number(life) }),
        ...(image.trim() === "" ? {} : { image: image.trim() }),
        ssh_public_keys: linesOf(keys),
        allow_list: linesOf(ranges),
      };
      const made = await once((key) => post<{ env_id: string; ssh_password: string | null }>("/api/environments", body, key));
      rememberShown(made.body.env_id, made.body.ssh_password);
      go(`/environments/${made.body.env_id}`);
    });

  return (
    <main id="main" class="narrow">
      <header class="page-head">
        <h1>{t("environments.new")}</h1>
      </header>
      <form
        class="panel form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          create();
        }}
      >
        <TextField label={t("name")} name="name" value={name} onValue={setName} required autofocus autocomplete="off" spellcheck={false} maxLength={63} hint={t("create.name.hint")} error={problem?.of("name")} />
        <fieldset>
          <legend>{t("resources")}</legend>
          <div class="choices" role="group" aria-label={t("create.size")}>
            {SIZES.map(([size, its]) => (
              <Button key={size} pressed={Number(cpu) === its.cpu && Number(memory) === its.memory} onPress={() => (setCpu(String(its.cpu)), setMemory(String(its.memory)))}>
                {t(`create.size.${size}`)}
              </Button>
            ))}
          </div>
          <div class="field-row">
            <TextField label={t("create.cpu")} type="number" inputMode="decimal" min="0.1" step="0.1" value={cpu} onValue={setCpu} error={problem?.of("resources.cpu")} />
            <TextField label={t("create.memory")} type="number" inputMode="decimal" min="0.125" step="0.125" value={memory} onValue={setMemory} error={problem?.of("resources.memory")} />
            <TextField label={t("create.storage")} type="number" inputMode="decimal" min="0" step="1" value={storage} onValue={setStorage} error={problem?.of("resources.storage")} />
            <TextField label={t("create.gpu")} type="number" inputMode="numeric" min="0" step="1" value={gpu} onValue={setGpu} error={problem?.of("resources.gpu")} />
          </div>
          {quota && <Left quota={quota} over={over} />}
        </fieldset>
        <div class="field-row">
          <SelectField
            label={t("create.life")}
            hint={life === "" ? undefined : t("create.life.hint")}
            value={life}
            onValue={setLife}
            error={problem?.of("ttl_s")}
            options={LIVES_S.map((seconds) => [seconds, seconds === "" ? t("create.life.unbounded") : t(`create.life.${seconds}` as "create.life.28800")] as const)}
          />
          <CheckField label={t("create.jupyter")} hint={t("create.jupyter.hint")} checked={jupyter} onChecked={setJupyter} />
        </div>
        <details>
          <summary>{t("create.more")}</summary>
          <AreaField label={t("create.keys")} hint={t("create.keys.hint")} value={keys} onValue={setKeys} placeholder="ssh-ed25519 AAAA… me@laptop" error={problem?.of("ssh_public_keys")} />
          <AreaField label={t("allow")} hint={t("allow.hint")} value={ranges} onValue={setRanges} placeholder="10.0.0.0/8" error={problem?.of("allow_list")} />
          <TextField label={t("create.image")} hint={t("create.image.hint")} value={image} onValue={setImage} autocomplete="off" spellcheck={false} error={problem?.of("image")} />
        </details>
        {problem && <Trouble problem={problem} />}
        <footer class="actions">
          <LinkButton to="/environments">{t("cancel")}</LinkButton>
          <Button kind="primary" type="submit" busy={busy} disabled={name.trim() === "" || over.length > 0}>
            {t("create")}
          </Button>
        </footer>
      </form>
    </main>
  );
}

function Left({ quota, over }: { quota: NonNullable<ReturnType<typeof useQuota>>; over: readonly string[] }) {
  const bounded = MEASURES.filter((measure) => left(quota, measure) !== null);
  if (bounded.length === 0) return <p class="hint">{t("quota.unlimited")}</p>;
  return (
    <div aria-live="polite">
      <p class="hint">
        {t("quota.left")}{" "}
        {bounded.map((measure, index) => (
          <span key={measure} class={over.includes(measure) ? "over" : undefined}>
            {index > 0 && " · "}
            {t(`quota.${measure}`)} {amount(left(quota, measure) ?? 0)}
          </span>
        ))}
      </p>
      {over.length > 0 && <p class="error">{t("quota.beyond")}</p>}
    </div>
  );
}
