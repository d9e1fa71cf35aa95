// `flopd audit verify`: checks the chain of an audit log, offline, also of a copy. Exit code 0 when it holds, 1 when not.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type ChainProblem, type Verification, verifyChain, type Witness } from '../audit/verify.ts';
import { type AuditFolder, addAuditFlags, findAuditFolders, readKeyArgument } from './audit-folder.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';
import { escapeText } from './text.ts';

interface Flags {
  readonly output: OutputFormat;
  readonly publicKey?: string;
  readonly against?: string;
}

interface Checked extends Verification {
  readonly path: string;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addOutputFlag(addAuditFlags(command))
    .option(
      '--public-key <KEY>',
      'who must have signed the head: base64 or a file (default: the key beside the log)',
    )
    .option('--against <FOLDER>', "the scheduler's log: a node's log must still hold what it told there")
    .addHelpText('after', HELP);
  command.action(async () => {
    const { output, publicKey, against } = command.opts() as Flags;
    const folders = await findAuditFolders(command, context);
    const given = publicKey === undefined ? null : [readKeyArgument(publicKey, context)];
    const told = against === undefined ? null : readTold(resolve(context.folder, against));
    const alone = folders.map((folder) => check(folder, given ?? folder.trusted, null));
    const keys = new Set(alone.map(({ signedBy }) => signedBy));
    const checked =
      told === null
        ? alone
        : folders.map((folder, at) => {
            const witnesses = told.get(alone[at]?.owner ?? '') ?? [];
            const found = check(folder, given ?? folder.trusted, witnesses);
            return { ...found, notes: [...found.notes, ...notesOfOthers(witnesses, keys)] };
          });
    await printValue(context, output, { logs: checked }, () => checked.flatMap(describe).map(escapeText));
    const isWhole = checked.every(({ problems, doubts }) => problems.length + doubts.length === 0);
    finish(isWhole ? exitCode.ok : exitCode.failed);
  });
}

const HELP = `
Reads the log of the scheduler and of the node in the state directory, or the folder of --path; needs no daemon.
Exit code 0 when the chain holds, 1 when a record was changed, removed, moved or added, or where that
cannot be told, 2 for a wrong call. With --against, only what the node told of this very log counts: it may have two.
What was recorded after the last signed head, about a second, can be removed without a trace.`;

function check(
  { path }: AuditFolder,
  trusted: readonly string[] | null,
  witnesses: readonly Witness[] | null,
): Checked {
  return { path, ...verifyChain(path, trusted, witnesses === null ? {} : { witnesses }) };
}

/** Of the chains that the scheduler was told of and that nobody checks here: removed, or just elsewhere. */
function notesOfOthers(witnesses: readonly Witness[], checked: ReadonlySet<string | null>): string[] {
  const last = new Map<string, Witness>();
  for (const one of witnesses) if (one.keyId !== null && !checked.has(one.keyId)) last.set(one.keyId, one);
  return [...last].map(
    ([keyId, { sequence, at }]) =>
      `this node has told of another log too, signed by key ${keyId} (record ${sequence} at ${at}), which is not among these; check it as well (agent/audit and runner/audit are two)`,
  );
}

type Told = ReadonlyMap<string, readonly Witness[]>;

/** What nodes told of their logs, by node. */
function readTold(folder: string): Told {
  const told = new Map<string, Witness[]>();
  verifyChain(folder, null, {
    onRecord({ kind, facts, at }) {
      const { nodeId, sequence, hash, keyId } = facts;
      if (kind !== 'node.head' || typeof nodeId !== 'string') return;
      if (typeof sequence !== 'number' || typeof hash !== 'string') return;
      const list = told.get(nodeId) ?? [];
      list.push({ sequence, hash, keyId: typeof keyId === 'string' ? keyId : null, at });
      told.set(nodeId, list);
    },
  });
  return told;
}

function describe({
  path,
  owner,
  records,
  segments,
  first,
  last,
  head,
  problems,
  doubts,
  notes,
  ...rest
}: Checked): string[] {
  const files = segments === 1 ? '1 file' : `${segments} files`;
  const range = first === null ? '' : `, ${first} to ${last}`;
  const what = `${path}: ${owner ?? 'owner unknown'}, ${records} records in ${files}${range}`;
  const whole = doubts.length === 0 ? 'the chain holds' : 'IT IS NOT KNOWN WHETHER THE CHAIN HOLDS';
  const lines = [`${what}: ${problems.length === 0 ? whole : 'THE CHAIN IS BROKEN'}`];
  if (head !== null)
    lines.push(
      `  head: record ${head.sequence} at ${head.at}, signed by key ${rest.signedBy}${rest.isKeyGiven ? '' : ', which was compared with none (give --public-key)'}`,
    );
  for (const problem of problems) lines.push(`  ${describeProblem(problem)}`);
  if (doubts.length > 0)
    lines.push(
      '  the scheduler was told of records that are not here, by a version that did not say of which log: they are of another log of this node, or an older copy was put back',
    );
  for (const doubt of doubts) lines.push(`  unknown: ${describeProblem(doubt)}`);
  for (const note of notes) lines.push(`  note: ${note}`);
  return lines;
}

function describeProblem({ sequence, file, line, text }: ChainProblem): string {
  const record = sequence === null ? '' : `record ${sequence}, `;
  return `${record}${file}${line === null ? '' : ` line ${line}`}: ${text}`;
}
