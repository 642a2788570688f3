// What of asciinema-player 3.10 is used here? It brings no types.
declare module "asciinema-player/ui.js" {
  export interface Player {
    dispose(): void;
    getCurrentTime(): Promise<number | undefined>;
    play(): Promise<unknown>;
    pause(): Promise<unknown>;
    seek(to_s: number): Promise<unknown>;
    addEventListener(name: "metadata", handler: (told: { duration?: number }) => void): void;
    addEventListener(name: "play" | "playing" | "pause" | "ended", handler: () => void): void;
  }
  export function create(source: { data: string }, into: HTMLElement, workerUrl: string, options: Record<string, unknown>): Player;
}
