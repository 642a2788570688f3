// What does a grant carry that this page has no words for? As the API has it.
import { moreOf } from "./grant";
import type { Grant } from "./grant";

export function MoreOf({ it }: { it: Grant }) {
  return (
    <>
      {moreOf(it).map(([name, value]) => (
        <code key={name} class="breaks">
          {name}: {JSON.stringify(value)}
        </code>
      ))}
    </>
  );
}
