// When was it? As long ago as it is, the exact time on demand.
import { ago, instant } from "../shown";

export function Ago({ time }: { time: string }) {
  return (
    <time dateTime={time} title={instant(time)}>
      {ago(time)}
    </time>
  );
}
