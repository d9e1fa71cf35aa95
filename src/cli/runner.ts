// `flopd runner`: the daemon that starts jobs, for an agent that may not. systemd runs it with the rights that this
// takes; the agent beside it, which speaks to the network, has none.
import type { Command } from 'commander';
import type { ConfigKeyName } from '../config/keys.ts';
import { decideCapacity } from '../device/capacity.ts';
import { createGrantRules } from '../device/told-grant.ts';
import type { Context } from './context.ts';
import {
  announce,
  awaitStop,
  clearReadyFile,
  prepareStateDir,
  stopInOrder,
  untilStop,
  withdraw,
} from './daemon.ts';
import { createJsonLog } from './daemon-log.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, jobKeys, readConfig } from './flags.ts';
import { SYS_ROOT } from './host-root.ts';

const keys = [
  'stateDir',
  'runner.socket',
  'runner.user',
  'readyFile',
  'node.cpus',
  'node.memoryBytes',
  'log.level',
] as const satisfies readonly ConfigKeyName[];

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addConfigFlags(command, [...keys, ...jobKeys]).addHelpText(
    'after',
    `
Its state directory is its own, made by "flopd join URL --token-file FILE --runner-state-dir DIR" with its rights. It has
no network: orders, and files of jobs, come through its agent ("flopd agent --runner PATH"). SIGTERM stops it in order;
running jobs go on in their shims, and the next start takes them up again.

Example:
  flopd runner --state-dir /var/lib/flopd-runner --runner /run/flopd-runner/runner.sock --runner-user flopd`,
  );
  command.action(async () => finish(await runRunner(command, context)));
}

async function runRunner(command: Command, context: Context): Promise<number> {
  const config = await readConfig(command, context);
  prepareStateDir(config);
  clearReadyFile(config);
  const log = await createJsonLog(config.log.level);
  const stop = awaitStop(context);
  const runner = await context.daemons.startRunner({
    root: context.root,
    stateDir: config.stateDir,
    config,
    capacity: decideCapacity(config.node, '/proc', SYS_ROOT),
    grants: createGrantRules(),
    clock: context.clock,
    log,
  });
  announce(config, { url: '', metricsUrl: null, pid: context.pid, stateDir: config.stateDir }, false);
  log.info({ nodeId: runner.nodeId, socket: runner.socket }, 'runner is ready');
  const signal = await untilStop(stop);
  log.info({ signal }, 'stopping; running jobs go on');
  const clean = await stopInOrder([runner], stop, log);
  withdraw(config, context.pid);
  if (!clean) log.error({}, 'stopped before everything was closed');
  return clean ? exitCode.ok : exitCode.failed;
}
