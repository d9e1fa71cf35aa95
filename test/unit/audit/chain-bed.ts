// A folder with a chain in it, a key to sign it with, and a disk that can be made to fail.
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { type Audit, type AuditOptions, openAudit } from '../../../src/audit/audit.ts';
import { createAuditDisk } from '../../../src/audit/disk.ts';
import { createAuditSigner } from '../../../src/audit/head.ts';
import { listSegments, segmentName } from '../../../src/audit/segment.ts';
import { type Verification, verifyChain } from '../../../src/audit/verify.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import type { AuditRecord } from '../../../src/protocol/audit.ts';
import { createFastClock } from '../../fakes/fast-clock.ts';

export function createChainBed() {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-audit-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const signer = createAuditSigner(generateKeyPairSync('ed25519').privateKey);
  const real = createAuditDisk(folder);
  /** Operations that fail, and how. */
  const failing: { append: string | null; sync: string | null; open: string | null; head: string | null } = {
    append: null,
    sync: null,
    open: null,
    head: null,
  };
  let isHalf = false;
  const refuse = (code: string | null): void => {
    if (code !== null) throw Object.assign(new Error(`${code}: the test says so`), { code });
  };

  function open(options: Partial<AuditOptions> = {}): Audit {
    return openAudit({
      folder,
      owner: 'node-1',
      signer,
      version: '0',
      clock: createFastClock(20),
      log: createSilentLog(),
      disk: {
        ...real,
        async open(number, bytes) {
          refuse(failing.open);
          await real.open(number, bytes);
        },
        async append(bytes) {
          if (failing.append !== null && isHalf) await real.append(bytes.subarray(0, bytes.length >> 1));
          refuse(failing.append);
          await real.append(bytes);
        },
        async sync() {
          refuse(failing.sync);
          await real.sync();
        },
        async writeHead(text) {
          refuse(failing.head);
          await real.writeHead(text);
        },
      },
      ...options,
    });
  }

  return {
    folder,
    signer,
    failing,
    /** Failing writes leave half of their bytes behind. */
    leaveHalves: () => {
      isHalf = true;
    },
    open,
    /** A closed log of so many records of ours, between `opened` and `closed`. */
    async fill(count: number, options: Partial<AuditOptions> = {}): Promise<void> {
      const audit = open(options);
      for (let n = 1; n <= count; n += 1) audit.record('job.ordered', { jobId: `job-${n}`, epoch: 1 });
      await audit.close();
    },
    verify: (trusted: readonly string[] | null = [signer.publicKey]): Verification =>
      verifyChain(folder, trusted),
    records(): AuditRecord[] {
      const records: AuditRecord[] = [];
      verifyChain(folder, null, { onRecord: (record) => records.push(record) });
      return records;
    },
    path: (number = 1): string => join(folder, segmentName(number)),
    bytes: (number = 1): Buffer => readFileSync(join(folder, segmentName(number))),
    write: (bytes: Uint8Array | string, number = 1): void =>
      writeFileSync(join(folder, segmentName(number)), bytes),
    segments: (): number[] => listSegments(folder),
    whole(records: number): void {
      expect(this.verify()).toMatchObject({ records, problems: [], notes: [] });
    },
  };
}
