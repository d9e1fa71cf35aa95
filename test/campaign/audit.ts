// Decides I12 for a campaign: the audit logs of both sides, as the built program prints them, against what the harness knows
// of every job. Each decision stands there once, and none that nobody made.
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { JobView } from '../../src/protocol/api.ts';
import type { Violation } from './checker.ts';

export interface LoggedDecision {
  readonly kind: string;
  readonly facts: Readonly<Record<string, string | number | boolean | null>>;
}

export interface LogsOfCampaign {
  readonly scheduler: readonly LoggedDecision[];
  /** By node. */
  readonly nodes: ReadonlyMap<string, readonly LoggedDecision[]>;
}

/** Records of the log in this state directory, after a check of its chain. Throws with what the check says. */
export function readLog(root: string, stateDir: string): readonly LoggedDecision[] {
  const flopd = join(root, 'dist', 'flopd.js');
  const check = spawnSync(process.execPath, [flopd, 'audit', 'verify', '--state-dir', stateDir], {
    encoding: 'utf8',
  });
  if (check.status !== 0) throw new Error(`${check.stdout}${check.stderr}`);
  const text = execFileSync(
    process.execPath,
    [flopd, 'audit', 'list', '--state-dir', stateDir, '--limit', '0', '-o', 'json'],
    { maxBuffer: 1024 ** 3 },
  ).toString();
  return (JSON.parse(text) as { records: LoggedDecision[] }).records;
}

type Say = (what: string) => void;

/** `started` are attempts (`job.epoch`) that the ledger says began. */
export function checkLogs(
  { scheduler, nodes }: LogsOfCampaign,
  jobs: readonly Pick<JobView, 'id' | 'epoch' | 'state'>[],
  started: ReadonlySet<string>,
): readonly Violation[] {
  const violations: Violation[] = [];
  const say: Say = (what) => void violations.push({ invariant: 'I12', what });
  const counts = countOf(scheduler);
  for (const { id, epoch, state } of jobs) {
    once(counts, `job.submitted ${id}`, say);
    for (let one = 1; one <= epoch; one += 1) once(counts, `job.ordered ${id}.${one}`, say);
    once(counts, `job.ended ${id} ${state}`, say);
  }
  const ofNodes = new Map<string, number>();
  for (const [node, records] of nodes) {
    for (const [name, count] of countOf(records)) {
      ofNodes.set(name, (ofNodes.get(name) ?? 0) + count);
      if (!name.startsWith('order.accepted ')) continue;
      const attempt = name.slice('order.accepted '.length);
      if ((counts.get(`ordered to ${node} ${attempt}`) ?? 0) !== 1)
        say(`${node} accepted ${attempt}, which the log of the scheduler did not give to it`);
    }
  }
  for (const attempt of started) {
    once(ofNodes, `order.accepted ${attempt}`, say);
    once(ofNodes, `attempt.ended ${attempt}`, say);
    if ((ofNodes.get(`attempt.started ${attempt}`) ?? 0) > 1)
      say(`attempt.started ${attempt} stands there twice`);
  }
  // Not every one of them reached the ledger: a shim may be killed before its program writes.
  for (const name of ofNodes.keys()) {
    const [kind, attempt] = name.split(' ');
    if (kind === 'attempt.started' && !ofNodes.has(`order.accepted ${attempt}`))
      say(`${name} stands there without its order`);
  }
  return violations;
}

function once(counts: ReadonlyMap<string, number>, name: string, say: Say): void {
  const count = counts.get(name) ?? 0;
  if (count !== 1) say(`${name} stands ${count} times in the log`);
}

function countOf(records: readonly LoggedDecision[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  const add = (name: string): void => void counts.set(name, (counts.get(name) ?? 0) + 1);
  for (const { kind, facts } of records) {
    const attempt = `${facts.jobId}.${facts.epoch}`;
    if (kind === 'job.submitted') add(`${kind} ${facts.jobId}`);
    else if (kind === 'job.ordered' || kind === 'job.adopted') {
      add(`job.ordered ${attempt}`);
      add(`ordered to ${facts.nodeId} ${attempt}`);
    } else if (kind === 'job.ended' && facts.final === true) add(`${kind} ${facts.jobId} ${facts.state}`);
    else if (kind.startsWith('attempt.') || (kind.startsWith('order.') && facts.order === 'start'))
      add(`${kind} ${attempt}`);
  }
  return counts;
}
