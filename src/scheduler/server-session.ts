// A session of an agent as the gateway sees it, and what it uses of a WebSocket.
import type { WebSocket } from 'ws';

/** What a session uses of a WebSocket. */
export type ServerSocket = Pick<
  WebSocket,
  | 'on'
  | 'send'
  | 'ping'
  | 'close'
  | 'terminate'
  | 'pause'
  | 'resume'
  | 'readyState'
  | 'OPEN'
  | 'bufferedAmount'
>;

export interface ServerSession {
  /** Once per heartbeat: sends one where nothing else was sent, and ends a session that is silent. */
  sweep(): void;
  /** Tells the agent whom to trust from now on. */
  authoritiesChanged(): void;
  /** The scheduler's keys have changed. */
  tellKeys(): void;
  close(code: number, reason: string): void;
}
