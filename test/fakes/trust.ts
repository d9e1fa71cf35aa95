// Trust that lies nowhere: the keys of the first statements that it is told, at once and for ever.
import type { Trust } from '../../src/job/trust.ts';
import { readStatement, type Statement } from '../../src/protocol/keys.ts';
import type { Signed } from '../../src/protocol/signed.ts';

export function createFakeTrust(schedulerId: string, statements: readonly Signed[] = []): Trust {
  let known: Statement | null = null;
  const learn = (told: readonly Signed[]): void => {
    const last = told.at(-1);
    known ??= last === undefined ? null : readStatement(last);
  };
  learn(statements);
  return {
    schedulerId: () => schedulerId,
    key: (keyId) => known?.keys.find((one) => one.keyId === keyId)?.key ?? null,
    learn,
    problem: () => null,
  };
}
