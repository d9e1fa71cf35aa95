// Whether this node takes orders, on its way to the scheduler: with every hello, and in a heartbeat of its own whenever that
// has changed since. An older scheduler ignores it, and learns it from the refusals.
import type { AgentMessage, Hello } from '../protocol/control.ts';

/** The message's own bound. */
const MAX_CHARACTERS = 1024;

export interface AdmissionFlow {
  /** Why no order is taken at present, a sentence; null while they are. */
  put(refusing: string | null): void;
  /** For a hello: what it tells need not be told again. */
  tell(): Pick<Hello, 'refusing'>;
  /** A session is live. */
  begin(): void;
}

/** `send`: false where there is no live session. */
export function createAdmissionFlow(send: (text: string) => boolean): AdmissionFlow {
  let present: string | null = null;
  let told: string | null = null;

  function pump(): void {
    if (present === told) return;
    const message = { type: 'heartbeat', sequence: null, refusing: present } satisfies AgentMessage;
    if (send(JSON.stringify(message))) told = present;
  }

  return {
    put(refusing) {
      const clipped = refusing?.slice(0, MAX_CHARACTERS) ?? null;
      if (clipped === present) return;
      present = clipped;
      pump();
    },
    tell() {
      told = present;
      return present === null ? {} : { refusing: present };
    },
    begin: pump,
  };
}
