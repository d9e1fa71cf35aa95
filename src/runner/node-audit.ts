// The node's audit log, beside the journal of the process that keeps it.
import { join } from 'node:path';
import { type Audit, openAudit } from '../audit/audit.ts';
import { takeAuditSigner } from '../audit/key.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';

/** What a node keeps of it; the scheduler's is meant to be kept longer. */
const QUOTA_BYTES = 256 * 1024 * 1024;
const SEGMENT_BYTES = 2 * 1024 * 1024;

/** Opens it in this state folder. Throws AGENT_KEY_EXPOSED or AGENT_KEY_DAMAGED. */
export function openNodeAudit(parts: {
  readonly folder: string;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly keep?: { readonly keepMs: number; readonly quotaBytes: number };
}): Audit {
  const { folder, nodeId, clock, log } = parts;
  return openAudit({
    folder: join(folder, 'audit'),
    owner: nodeId,
    signer: takeAuditSigner(folder, 'AGENT'),
    clock,
    log,
    keep: parts.keep ?? { keepMs: null, quotaBytes: QUOTA_BYTES },
    segmentBytes: SEGMENT_BYTES,
  });
}
