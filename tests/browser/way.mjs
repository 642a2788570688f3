// How does the network go away? A forwarder between browser and server that falls silent: what is
// connected stays so and says nothing, as when a telephone walks out of reach. When it is back, the old
// connections are unknown and end.
import { connect, createServer } from "node:net";

export async function way(to) {
  const { hostname, port } = new URL(to);
  const pairs = new Set();
  let silent = false;
  const server = createServer((from) => {
    const onward = connect(Number(port), hostname);
    const pair = [from, onward];
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      for (const socket of pair) socket.destroy();
    };
    const carry = (source, sink) => {
      source.on("data", (bytes) => {
        if (silent) return;
        if (!sink.write(bytes)) source.pause();
      });
      sink.on("drain", () => source.resume());
      source.on("end", () => sink.end());
      source.on("error", end);
      source.on("close", end);
      source.setNoDelay(true);
    };
    carry(from, onward);
    carry(onward, from);
  });
  await new Promise((done, failed) => server.once("error", failed).listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Nothing goes through from now on. */
    cut() {
      silent = true;
    },
    /** Whoever comes now gets through; what was silent is over. */
    mend() {
      silent = false;
      for (const socket of [...pairs].flat()) socket.resetAndDestroy();
    },
    close() {
      server.close();
      for (const socket of [...pairs].flat()) socket.destroy();
    },
  };
}
