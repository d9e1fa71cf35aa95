// `flopd agent`: the node agent daemon, as systemd runs it.
import type { Command } from 'commander';
import { describeError } from '../base/fault.ts';
import type { ConfigKeyName } from '../config/keys.ts';
import { parseSimulated } from '../device/simulated.ts';
import type { Context, RunningAgent } from './context.ts';
import {
  announce,
  awaitStop,
  clearReadyFile,
  explainListen,
  prepareStateDir,
  stopInOrder,
  untilStop,
  withdraw,
} from './daemon.ts';
import { createJsonLog } from './daemon-log.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, jobKeys, readConfig } from './flags.ts';

const keys = [
  'stateDir',
  'metricsListen',
  'scheduler',
  'caFile',
  'readyFile',
  'node.name',
  'node.cpus',
  'node.memoryBytes',
  'node.peakFlops',
  'telemetry.periodMs',
  'telemetry.windowMs',
  'simulate',
  'devices.backend',
  'devices.toolPeriodMs',
  'devices.retestMs',
  'devices.kernelLog',
  'protocol.least',
  'protocol.channelBinding',
  'runner.socket',
  'log.level',
] as const satisfies readonly ConfigKeyName[];

/** An agent whose scheduler is away is ready all the same: it supervises its jobs and serves its metrics. */
const CONNECT_PATIENCE_MS = 3000;

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addConfigFlags(command, [...keys, ...jobKeys]).addHelpText(
    'after',
    `
Needs a host that is enrolled ("flopd join"). Logs JSON lines on standard output. SIGTERM stops it in order; running
jobs go on in their shims, and the next start takes them up again. Exit code 1 when it cannot start.`,
  );
  command.action(async () => finish(await runAgent(command, context)));
}

async function runAgent(command: Command, context: Context): Promise<number> {
  const config = await readConfig(command, context);
  if (config.simulate !== null) parseSimulated(config.simulate);
  prepareStateDir(config);
  clearReadyFile(config);
  const log = await createJsonLog(config.log.level);
  const stop = awaitStop(context);
  let agent: RunningAgent;
  try {
    agent = await context.daemons.startAgent({
      root: context.root,
      stateDir: config.stateDir,
      metricsListen: config.metricsListen,
      scheduler: config.scheduler,
      joinToken: null,
      config,
      clock: context.clock,
      log,
      version: context.version,
    });
  } catch (error) {
    throw explainListen(error, config);
  }
  const connected = await Promise.race([
    agent.connected(CONNECT_PATIENCE_MS).then(
      () => true,
      (error: unknown) => {
        log.warn(
          { scheduler: agent.schedulerUrl, reason: describeError(error) },
          'not connected yet; goes on trying',
        );
        return false;
      },
    ),
    stop.first.then(() => false),
  ]);
  announce(
    config,
    { url: agent.schedulerUrl, metricsUrl: agent.metricsUrl, pid: context.pid, stateDir: config.stateDir },
    false,
  );
  log.info(
    { nodeId: agent.nodeId, scheduler: agent.schedulerUrl, metricsUrl: agent.metricsUrl, connected },
    'agent is ready',
  );
  const signal = await untilStop(stop);
  log.info({ signal }, 'stopping; running jobs go on');
  const clean = await stopInOrder([agent], stop, log);
  withdraw(config, context.pid);
  if (!clean) log.error({}, 'stopped before everything was closed');
  return clean ? exitCode.ok : exitCode.failed;
}
