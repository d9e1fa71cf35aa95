// `flopd drain`: an operator keeps new jobs away from a node or one of its devices, with the reason and, if wanted,
// for a time. What runs there goes on.
import type { Command } from 'commander';
import { parseDurationMs } from '../config/value.ts';
import type { Cordon } from '../protocol/device.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { type NodeTarget, readTarget, targetDevice } from './node-target.ts';
import { writeOut } from './output.ts';
import { escapeText } from './text.ts';
import { readFlag, usageFault } from './usage.ts';

const MAX_MS = 366 * 24 * 3_600_000;

interface DrainFlags {
  readonly reason?: string;
  readonly for?: string;
  readonly device?: string;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<node[/device]>', 'id or name of the node; the device by its id or as VENDOR:INDEX')
    .option('--reason <TEXT>', 'why, for those who find it so (needed)')
    .option('--for <DURATION>', 'lifted by itself after this time: 30m, 2h, 1d (default: when it is resumed)')
    .option('--device <DEVICE>', 'the same as NODE/DEVICE');
  addClientFlags(command).addHelpText('after', HELP);
  command.action(async (text: string) => {
    const flags = command.opts() as DrainFlags;
    const target = readTarget(text, flags.device);
    const { reason } = flags;
    if (reason === undefined || reason.trim() === '')
      throw usageFault('--reason: it is missing', 'say why, for example --reason "fan is to be changed"');
    if (reason.length > 512) throw usageFault('--reason: it is longer than 512 characters', 'shorten it');
    const forMs = flags.for === undefined ? null : readDuration(flags.for);
    const client = await openClient(command, context);
    const node = await client.drain(target.node, { device: target.device, reason, forMs });
    const device = targetDevice(node, target.device);
    const cordon = target.device === null ? node.cordon : (device?.cordon ?? null);
    const running = target.device === null ? node.jobs : (device?.heldBy ?? []);
    const line = `${describeTarget(node.name, target, device?.id)} takes no new jobs ${describeUntil(cordon)}; ${describeRunning(running)}`;
    await writeOut(context.stdout, `${escapeText(line)}\n`);
    finish(exitCode.ok);
  });
}

const HELP = `
Jobs that run there go on; cancel them with "flopd cancel". Undo with "flopd resume".

Examples:
  flopd drain gpu-7 --reason 'new driver' --for 2h
  flopd drain gpu-7/ascend:3 --reason 'HBM errors'`;

function readDuration(text: string): number {
  return readFlag('--for', text, (given) => parseDurationMs(given, { min: 1000, max: MAX_MS }, false));
}

function describeTarget(nodeName: string, { device }: NodeTarget, id: string | undefined): string {
  return device === null ? nodeName : `${nodeName}/${id ?? device}`;
}

function describeUntil(cordon: Cordon | null): string {
  const untilMs = cordon?.untilMs ?? null;
  return untilMs === null ? 'until it is resumed' : `until ${new Date(untilMs).toISOString()}`;
}

function describeRunning(jobs: readonly string[]): string {
  if (jobs.length === 0) return 'no job runs there';
  return jobs.length === 1 ? `${jobs[0]} still runs there` : `${jobs.length} jobs still run there`;
}
