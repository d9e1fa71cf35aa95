// Schedulers that this node will not have, written down: one whose certificate is not trusted, or which is another than it
// belongs to. Once for each reason, however often it is tried.
import { isFault } from '../base/fault.ts';
import type { SocketFactory } from '../link/socket.ts';
import type { AuditSink } from '../protocol/audit.ts';

const REFUSALS: ReadonlySet<string> = new Set([
  'AGENT_OTHER_SCHEDULER',
  'DIAL_AUTHORITY_UNKNOWN',
  'DIAL_NO_TLS',
  'DIAL_TLS_OLD',
  'DIAL_CERTIFICATE_EXPIRED',
  'DIAL_CERTIFICATE_EARLY',
  'DIAL_NAME_OTHER',
  'DIAL_PLAIN',
]);

export interface SchedulerWatch {
  /** The same sockets; those that fail over trust are written down. */
  sockets(factory: SocketFactory): SocketFactory;
  /** Rejects as `work` does. */
  hello<T>(work: () => Promise<T>): Promise<T>;
}

export function watchScheduler(audit: AuditSink): SchedulerWatch {
  let last: string | null = null;

  function look(error: unknown, url: string | null): void {
    if (!isFault(error) || !REFUSALS.has(error.code) || error.code === last) return;
    last = error.code;
    audit('scheduler.refused', { code: error.code, url });
  }

  return {
    sockets: (factory) => (url, events) =>
      factory(url, {
        ...events,
        failed(error, retryAfterSeconds) {
          look(error, url);
          events.failed(error, retryAfterSeconds);
        },
      }),
    async hello(work) {
      try {
        const done = await work();
        last = null;
        return done;
      } catch (error) {
        look(error, null);
        throw error;
      }
    },
  };
}
