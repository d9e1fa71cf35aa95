// What says who somebody is: tokens, credentials, records of the audit log.

import { encodeRecord, NOTHING_HASH, parseLine } from '../../../src/audit/chain.ts';
import { splitLines } from '../../../src/audit/segment.ts';
import { parseToken, splitPin, withPin } from '../../../src/base/token-text.ts';
import { readCredential, signedCredentialText } from '../../../src/protocol/credential.ts';
import { nowhere } from '../../../src/protocol/place.ts';
import { bytesOf, insist, jsonOf, type Target, textOf } from '../target.ts';

/** A log is read line by line; many are no find. */
const LINES_MAX = 1000;

const token = `flopd-user-4f9k-${'A'.repeat(43)}`;
const publicKey = `${'A'.repeat(59)}=`;
const credential = {
  version: 1,
  schedulerId: 'scheduler-1',
  nodeId: 'node-1',
  publicKey,
  enrolledAtMs: 1_795_000_000_000,
  place: { ...nowhere, jurisdiction: 'CN-GD', city: '深圳' },
  labels: { rack: 'a1' },
  serial: 3,
};
const line = encodeRecord({
  sequence: 1,
  at: '2026-11-28T21:00:00.000Z',
  kind: 'job.ordered',
  facts: { jobId: 'job-1', epoch: 1, ok: true, none: null },
  previous: NOTHING_HASH,
});

export const trustTargets: readonly Target[] = [
  {
    name: 'token',
    faults: /^never$/,
    seeds: () =>
      [token, withPin(token, `sha256-${'B'.repeat(43)}`), token.replace('user', 'join')].map(bytesOf),
    read(input) {
      const text = textOf(input);
      return { text, split: splitPin(text), parts: parseToken(splitPin(text).token) };
    },
    check(made) {
      const { text, split } = made as { text: string; split: ReturnType<typeof splitPin> };
      insist(withPin(split.token, split.pin) === text, 'its parts are not the whole');
    },
  },
  {
    name: 'credential',
    faults: /^never$/,
    seeds: () => [bytesOf(JSON.stringify(credential))],
    read: (input) => readCredential({ body: textOf(input) }),
    check(made) {
      if (made === null) return;
      const body = made as NonNullable<ReturnType<typeof readCredential>>;
      const again = readCredential({ body: signedCredentialText(body) });
      insist(JSON.stringify(again) === JSON.stringify(body), 'it is read otherwise the second time');
    },
  },
  {
    name: 'audit-line',
    faults: /^never$/,
    seeds: () => [bytesOf(`${line}\n${line}\n`), jsonOf({ a: 1 })],
    read: (input) => splitLines(input).lines.slice(0, LINES_MAX).map(parseLine),
    check(made, input) {
      for (const { record } of made as ReturnType<typeof parseLine>[])
        if (record !== null)
          insist(textOf(input).includes(encodeRecord(record)), 'a record that does not stand there');
    },
  },
];
