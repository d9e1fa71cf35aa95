// Users and join tokens are documents of the queue, and lie in a file beside it as well (account-file.ts). At start the
// two are made one: what one of them lacks comes from the other, and where they differ, the later word holds, so that a
// copy of the store from before makes nobody a user again who was revoked since. From then on a change is promised when
// it is in both.
import type { Queue } from '../queue/queue.ts';
import { type AccountFileOptions, type AccountKind, accountKinds, openAccountFile } from './account-file.ts';

export interface AccountParts extends AccountFileOptions {
  readonly queue: Queue;
}

/**
 * The same queue, of which users and join tokens outlive the store. Resolves when both are one. Throws
 * SCHEDULER_ACCOUNTS_DAMAGED, or what the queue throws.
 */
export async function withAccounts({ queue, ...options }: AccountParts): Promise<Queue> {
  const { log } = options;
  const file = openAccountFile(options);
  const restored: Record<AccountKind, number> = { user: 0, joinToken: 0 };
  const filed = new Map(file.opened.map(({ kind, id, value }) => [`${kind} ${id}`, value]));
  const changes: Promise<void>[] = [];
  for (const { kind, id, value } of file.opened) {
    const stored = queue.documents(kind).get(id) as Document | undefined;
    const holds = stored === undefined ? value : laterOf[kind](stored, value);
    if (holds === stored) continue;
    restored[kind] += 1;
    const isStored = queue.putDocument(kind, id, holds);
    // Of what the store knows a full disk is waited for, and memory has it; anything new it refuses.
    if (stored === undefined) changes.push(isStored);
    else isStored.catch(() => {});
  }
  for (const kind of accountKinds) {
    // A disk that does not take them now stops nothing: it has been told, and is tried again.
    for (const [id, value] of queue.documents(kind))
      if (!isSame(filed.get(`${kind} ${id}`), value)) changes.push(file.put(kind, id, value).catch(() => {}));
  }
  await Promise.all(changes);
  if (restored.user + restored.joinToken > 0)
    log.warn({ users: restored.user, joinTokens: restored.joinToken, path: options.path }, RESTORED);

  function isAccount(kind: string): kind is AccountKind {
    return (accountKinds as readonly string[]).includes(kind);
  }

  /** After the store, so that nobody is in the file who was refused there. */
  async function both(kind: Parameters<Queue['putDocument']>[0], id: string, stored: Promise<void>) {
    await stored;
    if (isAccount(kind)) await file.put(kind, id, queue.documents(kind).get(id));
  }

  return {
    ...queue,
    putDocument: (kind, id, value) => both(kind, id, queue.putDocument(kind, id, value)),
    removeDocument: (kind, id) => both(kind, id, queue.removeDocument(kind, id)),
    async close() {
      await queue.close();
      await file.close();
    },
  };
}

const RESTORED =
  'the job store lacked users or join tokens, or had them as they were before: taken from their file';

type Document = Readonly<Record<string, unknown>>;

/** Of a document in the store and in the file the one that holds: one of them, where nothing has to be put together. */
const laterOf: Readonly<Record<AccountKind, (stored: Document, filed: Document) => Document>> = {
  // Where both have the same number, an older flopd, which does not count, may have written to the store since.
  user: (stored, filed) => (numberOf(filed.serial) > numberOf(stored.serial) ? filed : stored),
  // A use that was counted, and a revocation, are never taken back.
  joinToken(stored, filed) {
    const usesLeft = Math.min(numberOf(stored.usesLeft), numberOf(filed.usesLeft));
    const revokedAtMs = stored.revokedAtMs ?? filed.revokedAtMs ?? null;
    const isStored = usesLeft === stored.usesLeft && revokedAtMs === stored.revokedAtMs;
    return isStored ? stored : { ...stored, usesLeft, revokedAtMs };
  },
};

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
