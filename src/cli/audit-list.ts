// `flopd audit list`: records of an audit log, oldest first, as text that is safe for a terminal.
import type { Command } from 'commander';
import { verifyChain } from '../audit/verify.ts';
import { parseDurationMs } from '../config/value.ts';
import { type AuditRecord, auditKinds } from '../protocol/audit.ts';
import { addAuditFlags, findAuditFolders } from './audit-folder.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { say } from './message.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';
import { renderTable, type TableColumn } from './table.ts';
import { readFlag, usageFault } from './usage.ts';

const LIMIT = 1000;
const SINCE = { min: 1000, max: 3650 * 86_400_000 };

interface Flags {
  readonly output: OutputFormat;
  readonly since?: string;
  readonly kind?: readonly string[];
  readonly job?: string;
  readonly node?: string;
  readonly limit?: string;
}

interface Row extends AuditRecord {
  readonly owner: string;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addOutputFlag(addAuditFlags(command))
    .option('--since <TIME>', 'not those before: 2h, 30m, 7d, or a time as 2026-11-28T12:00:00Z')
    .option('--kind <KIND...>', 'these kinds alone, as job.ordered')
    .option('--job <ID>', 'those about this job')
    .option('--node <ID>', 'those about this node')
    .option('--limit <N>', `the last so many; 0 for all (default: ${LIMIT})`)
    .addHelpText(
      'after',
      `\nKinds: ${auditKinds.join(', ')}.\nJSON: {"records": [{"owner", "sequence", "at", "kind", "facts", "previous"}, …]}`,
    );
  command.action(async () => {
    const flags = command.opts() as Flags;
    const isWanted = filterOf(flags, context.clock.wallMs());
    const limit = flags.limit === undefined ? LIMIT : readLimit(flags.limit);
    const rows: Row[] = [];
    let isWhole = true;
    for (const { path, trusted } of await findAuditFolders(command, context)) {
      const found: AuditRecord[] = [];
      const { problems, owner } = verifyChain(path, trusted, {
        onRecord: (record) => {
          if (isWanted(record)) found.push(record);
        },
      });
      isWhole &&= problems.length === 0;
      for (const record of found) rows.push({ owner: owner ?? 'unknown', ...record });
    }
    rows.sort((a, b) => (a.owner === b.owner ? a.sequence - b.sequence : a.at < b.at ? -1 : 1));
    const records = limit === 0 ? rows : rows.slice(-limit);
    if (!isWhole) say(context.stderr, 'the log is damaged; see "flopd audit verify"');
    await printValue(context, flags.output, { records }, (style) => renderTable(columns, records, style));
    finish(exitCode.ok);
  });
}

const columns: readonly TableColumn<Row>[] = [
  { title: 'LOG', wide: true, cell: ({ owner }) => owner },
  { title: 'RECORD', align: 'right', cell: ({ sequence }) => String(sequence) },
  { title: 'AT', cell: ({ at }) => at },
  { title: 'KIND', cell: ({ kind }) => kind },
  { title: 'FACTS', cell: ({ facts }) => describeFacts(facts) },
];

function describeFacts(facts: AuditRecord['facts']): string {
  return Object.entries(facts)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? quoted(value) : String(value)}`)
    .join(' ');
}

const quoted = (text: string): string => (/^[\w.:/@+-]+$/.test(text) ? text : JSON.stringify(text));

function filterOf(flags: Flags, nowMs: number): (record: AuditRecord) => boolean {
  const since = flags.since === undefined ? null : readSince(flags.since, nowMs);
  const unknown = flags.kind?.find((kind) => !(auditKinds as readonly string[]).includes(kind));
  if (unknown !== undefined)
    throw usageFault(
      `--kind: "${unknown}" is no kind of record`,
      'see "flopd audit list --help" for the kinds',
    );
  return ({ at, kind, facts }) =>
    (since === null || at >= since) &&
    (flags.kind === undefined || flags.kind.includes(kind)) &&
    (flags.job === undefined || facts.jobId === flags.job || facts.arrayId === flags.job) &&
    (flags.node === undefined || facts.nodeId === flags.node);
}

/** A stamp that compares with those of records. */
function readSince(text: string, nowMs: number): string {
  if (/^\d{4}-\d{2}-\d{2}/.test(text)) {
    const ms = Date.parse(text);
    if (Number.isFinite(ms)) return new Date(ms).toISOString();
    throw usageFault(`--since: "${text}" is no time`, 'write it as 2026-11-28T12:00:00Z');
  }
  const agoMs = readFlag('--since', text, (given) => parseDurationMs(given, SINCE, false));
  return new Date(nowMs - agoMs).toISOString();
}

function readLimit(text: string): number {
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw usageFault('--limit: it is no number of records', 'give a whole number, 0 for all');
}
