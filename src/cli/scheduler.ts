// `flopd scheduler`: the scheduler daemon, as systemd runs it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { every } from '../base/clock.ts';
import type { ConfigKeyName } from '../config/keys.ts';
import { loadNative, type Native, nativePaths } from '../native.ts';
import { joinCorridors } from '../protocol/corridor.ts';
import type { Context, RunningScheduler } from './context.ts';
import {
  announce,
  awaitStop,
  claimScheduler,
  clearReadyFile,
  explainListen,
  prepareStateDir,
  stopInOrder,
  untilStop,
  withdraw,
} from './daemon.ts';
import { createJsonLog } from './daemon-log.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, readConfig, schedulerKeys, tlsKeys } from './flags.ts';

const keys = [
  'stateDir',
  'listen',
  'readyFile',
  ...tlsKeys,
  'files.quotaBytes',
  'files.keepMs',
  'output.keepMs',
  'output.quotaBytes',
  'audit.keepMs',
  'audit.quotaBytes',
  'history.keepMs',
  'history.jobs',
  'protocol.least',
  'protocol.channelBinding',
  'log.level',
] as const satisfies readonly ConfigKeyName[];

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addConfigFlags(command, [...keys, ...schedulerKeys]).addHelpText(
    'after',
    `
Logs JSON lines on standard output. Its token is scheduler/token in the state directory, the token that hosts join
with is scheduler/join-token. SIGTERM stops it in order; running jobs go on. Exit code 1 when it cannot start.`,
  );
  command.action(async () => finish(await runScheduler(command, context)));
}

/** Folder of the dashboard's files, or null where the package has none. */
export function dashboardFolder(root: string): string | null {
  return (
    [join(root, 'dist', 'dashboard'), join(root, 'src', 'dashboard')].find((folder) =>
      existsSync(join(folder, 'index.html')),
    ) ?? null
  );
}

async function runScheduler(command: Command, context: Context): Promise<number> {
  const config = await readConfig(command, context);
  prepareStateDir(config);
  clearReadyFile(config);
  const log = await createJsonLog(config.log.level);
  const { native, problem } = loadNative(nativePaths(context.root).addon);
  if (native === null) log.warn({ problem }, 'systemd is not notified and the state directory is not locked');
  await claimScheduler(config, native);
  const stop = awaitStop(context);
  let scheduler: RunningScheduler;
  try {
    scheduler = await context.daemons.startScheduler({
      stateDir: config.stateDir,
      listen: config.listen,
      tls: config.tls,
      clock: context.clock,
      log,
      version: context.version,
      dashboardFolder: dashboardFolder(context.root),
      files: config.files,
      auditLimits: config.audit,
      retention: config.output,
      history: config.history,
      leastVersion: config.protocol.least,
      channelBinding: config.protocol.channelBinding,
      policy: { place: config.place, corridors: joinCorridors(config.policy.corridors) },
    });
  } catch (error) {
    throw explainListen(error, config);
  }
  announce(
    config,
    {
      url: scheduler.url,
      metricsUrl: scheduler.url,
      pid: context.pid,
      stateDir: config.stateDir,
    },
    true,
  );
  log.info(
    {
      url: scheduler.url,
      urlElsewhere: scheduler.urlElsewhere,
      schedulerId: scheduler.schedulerId,
      tokenFile: scheduler.tokenFile,
      joinTokenFile: scheduler.joinTokenFile,
    },
    'scheduler is ready',
  );
  const watchdog = notifySystemd(context, native);
  const signal = await untilStop(stop);
  log.info({ signal }, 'stopping; running jobs go on');
  native?.notify('STOPPING=1');
  const clean = await stopInOrder([scheduler], stop, log);
  watchdog?.cancel();
  withdraw(config, context.pid);
  if (!clean) log.error({}, 'stopped before everything was closed');
  return clean ? exitCode.ok : exitCode.failed;
}

/** Says READY, and feeds the watchdog from the event loop: when that stops, systemd restarts the daemon. */
function notifySystemd({ environment, clock }: Context, native: Native | null): { cancel(): void } | null {
  if (native === null) return null;
  native.notify('READY=1');
  const watchdogUs = Number(environment.WATCHDOG_USEC);
  if (!Number.isFinite(watchdogUs) || watchdogUs <= 0) return null;
  return every(clock, watchdogUs / 1000 / 3, () => void native.notify('WATCHDOG=1'));
}
