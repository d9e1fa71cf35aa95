// `flopd resume`: lifts what `flopd drain` has set, and says what else may keep new jobs away.
import type { Command } from 'commander';
import type { NodeDeviceView, NodeView } from '../protocol/api.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { readTarget, targetDevice } from './node-target.ts';
import { writeOut } from './output.ts';
import { escapeText } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<node[/device]>', 'id or name of the node; the device by its id or as VENDOR:INDEX')
    .option('--device <DEVICE>', 'the same as NODE/DEVICE');
  addClientFlags(command).addHelpText(
    'after',
    '\nExit code 1 when something else still keeps new jobs away; it is said what. Resuming a node leaves the cordons of its devices.',
  );
  command.action(async (text: string) => {
    const { device: flag } = command.opts() as { device?: string };
    const target = readTarget(text, flag);
    const client = await openClient(command, context);
    const node = await client.resume(target.node, target.device);
    const device = targetDevice(node, target.device);
    const name = target.device === null ? node.name : `${node.name}/${device?.id ?? target.device}`;
    const obstacle = target.device === null ? nodeObstacle(node) : deviceObstacle(node, device);
    const line = obstacle === null ? `${name} takes new jobs` : `${name} is resumed, but ${obstacle}`;
    await writeOut(context.stdout, `${escapeText(line)}\n`);
    finish(obstacle === null ? exitCode.ok : exitCode.failed);
  });
}

function nodeObstacle(node: NodeView): string | null {
  return node.takesJobs ? null : `takes none yet: ${node.reason}`;
}

function deviceObstacle(node: NodeView, device: NodeDeviceView | null): string | null {
  if (device === null) return 'the node does not tell of it any more';
  if (device.takesJobs && node.cordon !== null)
    return `the whole of ${node.name} is drained by ${node.cordon.by} (${node.cordon.reason})`;
  if (device.takesJobs) return null;
  const { cordon } = device;
  if (cordon !== null) return `takes none: cordoned on the node by ${cordon.by} (${cordon.reason})`;
  const [fault] = device.faults.filter(({ rung }) => rung === device.rung);
  return `takes none: ${fault === undefined ? device.rung : `${fault.code}, ${fault.text}`}`;
}
