// `flopd audit verify`: checks the chain of an audit log, offline, also of a copy. Exit code 0 when it holds, 1 when not.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type ChainProblem, type Verification, verifyChain, type Witness } from '../audit/verify.ts';
import { Fault } from '../base/fault.ts';
import { type AuditFolder, addAuditFlags, findAuditFolders, readKeyArgument } from './audit-folder.ts';
import { readNodeHeads, readWitnesses, type Told, underAnyKey, type WitnessLog } from './audit-witness.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';
import { escapeText } from './text.ts';

interface Flags {
  readonly output: OutputFormat;
  readonly publicKey?: string;
  readonly against?: string;
  readonly witness?: readonly string[];
}

interface Checked extends Verification {
  readonly path: string;
  /** Witnesses spoke, and of what is kept nothing is what they were told: nobody vouches for it. */
  readonly isUnvouched: boolean;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addOutputFlag(addAuditFlags(command))
    .option(
      '--public-key <KEY>',
      'who must have signed the head: base64 or a file (default: the key beside the log)',
    )
    .option('--against <FOLDER>', "the scheduler's log: a node's log must still hold what it told there")
    .option(
      '--witness <PATH...>',
      "logs of nodes (agent/audit), or files of their records: the scheduler's log must still hold what it told them",
    )
    .addHelpText('after', HELP);
  command.action(async () => {
    const { output, publicKey, against, witness } = command.opts() as Flags;
    const folders = await findAuditFolders(command, context);
    const given = publicKey === undefined ? null : [readKeyArgument(publicKey, context)];
    const told = against === undefined ? null : readNodeHeads(resolve(context.folder, against));
    const witnesses = witness === undefined ? null : readWitnesses(witness, context.folder);
    const alone = folders.map((folder) => check(folder, given ?? folder.trusted, null));
    if (witnesses !== null) requireHeads(witnesses.told, alone);
    const keys = new Set(alone.map(({ signedBy }) => signedBy));
    const checked = folders.map((folder, at) => {
      const { owner = null, signedBy = null } = alone[at] ?? {};
      const ofNode = told?.get(owner ?? '') ?? [];
      const ofScheduler = underAnyKey(witnesses?.told.get(owner ?? '') ?? [], signedBy);
      if (told === null && witnesses === null) return alone[at] as Checked;
      const found = check(folder, given ?? folder.trusted, [...ofNode, ...ofScheduler]);
      const notes = [
        ...found.notes,
        ...notesOfOthers(ofNode, keys),
        ...notesOfWitnesses(found, [...ofNode, ...ofScheduler]),
      ];
      const { agree, before } = found.witnessed;
      return { ...found, isUnvouched: ofScheduler.length > 0 && agree === 0 && before > 0, notes };
    });
    const logs = witnesses?.logs ?? [];
    await printValue(
      context,
      output,
      witnesses === null ? { logs: checked } : { logs: checked, witnesses: logs },
      () => [...checked.flatMap(describe), ...logs.map(describeWitness)].map(escapeText),
    );
    const isWhole =
      checked.every((one) => one.problems.length + one.doubts.length === 0 && !one.isUnvouched) &&
      logs.every(({ problems }) => problems === null || problems.length === 0);
    finish(isWhole ? exitCode.ok : exitCode.failed);
  });
}

const HELP = `
Reads the log of the scheduler and of the node in the state directory, or the folder of --path; needs no daemon.
Exit code 0 when the chain holds, 1 when a record was changed, removed, moved or added, or where that
cannot be told, 2 for a wrong call. With --against, only what the node told of this very log counts: it may have two.
What was recorded after the last signed head, about a second, can be removed without a trace.

Whoever has the key of a log can write it anew so that it holds by itself. Each node writes down, every few minutes, how
far the scheduler's log has come: give logs of nodes that others keep with --witness, copied before this log was.`;

/** Throws a Fault AUDIT_WITNESS_EMPTY where no log that is checked is one that the witnesses speak of. */
function requireHeads(told: Told, checked: readonly Checked[]): void {
  if (checked.some(({ owner }) => told.has(owner ?? ''))) return;
  const spoken = [...told.keys()].join(', ');
  throw new Fault(
    'AUDIT_WITNESS_EMPTY',
    spoken === ''
      ? 'the witnesses were told nothing of any scheduler'
      : `the witnesses were told of ${spoken}, and no log of it is checked here`,
    {
      remedy:
        "give the log of an agent (agent/audit), not of a runner, and check the scheduler's with --path",
    },
  );
}

function notesOfWitnesses({ witnessed }: Checked, told: readonly Witness[]): string[] {
  if (told.length === 0) return [];
  const { agree, last, differ, before } = witnessed;
  const notes: string[] = [];
  if (last !== null)
    notes.push(
      `${agree} ${agree === 1 ? 'record is' : 'records are'} as witnesses were told, the last of them ${last.sequence}, told at ${last.at}`,
    );
  if (differ > 0)
    notes.push(
      `what ${last === null ? 'witnesses were told' : 'they were told later'} is not here: an older copy was put back and gone on with, this copy is older than theirs, or the log was written anew`,
    );
  if (before > 0)
    notes.push(`${before} that witnesses were told of are from before the first record that is kept`);
  return notes;
}

function describeWitness({ path, owner, heads, problems }: WitnessLog): string {
  const what = `witness ${path}: ${owner ?? 'owner unknown'}, ${heads === 1 ? 'one head' : `${heads} heads`}`;
  if (problems === null) return `${what}; a file, believed as it stands`;
  return `${what}; its own chain ${problems.length === 0 ? 'holds' : 'IS BROKEN: verify it first'}`;
}

function check(
  { path }: AuditFolder,
  trusted: readonly string[] | null,
  witnesses: readonly Witness[] | null,
): Checked {
  return { path, isUnvouched: false, ...verifyChain(path, trusted, witnesses === null ? {} : { witnesses }) };
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

function describe(checked: Checked): string[] {
  const { path, owner, records, segments, first, last, head, problems, doubts, isUnvouched, notes, ...rest } =
    checked;
  const files = segments === 1 ? '1 file' : `${segments} files`;
  const range = first === null ? '' : `, ${first} to ${last}`;
  const what = `${path}: ${owner ?? 'owner unknown'}, ${records} records in ${files}${range}`;
  const whole =
    doubts.length === 0 && !isUnvouched ? 'the chain holds' : 'IT IS NOT KNOWN WHETHER THE CHAIN HOLDS';
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
