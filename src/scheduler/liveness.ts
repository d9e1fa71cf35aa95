// Whether somebody is still at the other end of a connection, asked when it matters: a ping, and a moment for the pong: an
// agent answers pings whatever else it does.
import type { Clock } from '../base/clock.ts';
import { ANSWER_DEADLINE_MS } from '../protocol/lease.ts';
import type { ServerSocket } from './server-session.ts';

/** The returned function resolves to whether a pong came in time; false at once when the connection is over. */
export function createLiveness(socket: ServerSocket, clock: Clock): () => Promise<boolean> {
  const waiting = new Set<(answer: boolean) => void>();
  const tell = (answer: boolean) => (): void => {
    for (const settle of [...waiting]) settle(answer);
  };
  socket.on('pong', tell(true));
  socket.on('close', tell(false));
  return () =>
    new Promise((resolve) => {
      if (socket.readyState !== socket.OPEN) {
        resolve(false);
        return;
      }
      const timer = clock.after(ANSWER_DEADLINE_MS, () => settle(false));
      function settle(answer: boolean): void {
        timer.cancel();
        waiting.delete(settle);
        resolve(answer);
      }
      waiting.add(settle);
      socket.ping();
    });
}
