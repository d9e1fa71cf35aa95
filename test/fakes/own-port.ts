// Ports for servers that are to come back on the same one. The kernel gives the numbers of port 0 to whoever asks, also
// while their last owner is away; these are outside of what it gives, and each test process has its own.
import { createServer } from 'node:net';

/** Below what Linux hands out by itself (net.ipv4.ip_local_port_range begins at 32768). */
const FIRST = 20_000;
const SLICES = 600;
const SLICE = 20;

let taken = 0;

/** A port of loopback on which nobody listens now, and nobody else by chance later. */
export async function ownPort(): Promise<number> {
  for (let tries = 0; tries < SLICE; tries += 1) {
    const port = FIRST + (process.pid % SLICES) * SLICE + (taken++ % SLICE);
    if (await isFree(port)) return port;
  }
  return 0;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
