// `flopd up`: a network of one node in this process: scheduler, agent, and for a first look an example job that
// goes the same way as every other: HTTP API, queue, link, supervisor, shim.
import { existsSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { Log } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import type { ConfigKeyName } from '../config/keys.ts';
import { parseSimulated } from '../device/simulated.ts';
import { loadNative, nativePaths } from '../native.ts';
import { joinCorridors } from '../protocol/corridor.ts';
import { type Client, createClient } from './client.ts';
import type { Context, RunningAgent, RunningScheduler } from './context.ts';
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
import { createTextLog } from './daemon-log.ts';
import { dialerFor, localAuthorityFile } from './dialling.ts';
import { readToken } from './endpoint.ts';
import { runExample } from './example.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, jobKeys, placeKeys, readConfig, tlsKeys } from './flags.ts';
import { SYS_ROOT } from './host-root.ts';
import { howToCall } from './invocation.ts';
import { say } from './message.ts';
import { pause, writeLines } from './output.ts';
import { findPowerSources, whyNoPower } from './power-source.ts';
import { dashboardFolder } from './scheduler.ts';
import { localSigner } from './submitter-key.ts';
import { escapeText, shellQuote } from './text.ts';

const keys = [
  'stateDir',
  'listen',
  ...tlsKeys,
  'metricsListen',
  'tokenFile',
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

/** The agent is in this very process; longer means that something is wrong. */
const CONNECT_DEADLINE_MS = 15_000;
const FAREWELL_DEADLINE_MS = 500;

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.option('--example', 'also run an example job: a matrix product of known size');
  addConfigFlags(command, [...keys, ...jobKeys, ...placeKeys]).addHelpText(
    'after',
    `
Ctrl-C or SIGTERM stops it in order; running jobs go on, and the next "flopd up" takes them up again.

Examples:
  flopd up --state-dir /tmp/try --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0
  flopd up --simulate 8xH100,8xAscend910B3`,
  );
  command.action(async () => finish(await runUp(command, context)));
}

async function runUp(command: Command, context: Context): Promise<number> {
  const startedMs = context.clock.monotonicMs();
  const config = await readConfig(command, context);
  if (config.simulate !== null) parseSimulated(config.simulate);
  prepareStateDir(config);
  clearReadyFile(config);
  // On a terminal only trouble is worth a line, unless a level was asked for.
  const log = createTextLog(
    context.stderr,
    config.sources['log.level'].kind === 'default' ? 'warn' : config.log.level,
  );
  await claimScheduler(config, loadNative(nativePaths(context.root).addon).native);
  const stop = awaitStop(context);
  const parts: { close(): Promise<void> }[] = [];
  try {
    const scheduler = await startScheduler(context, config, log);
    parts.unshift(scheduler);
    const agent = await startAgent(context, config, log, scheduler);
    parts.unshift(agent);
    await Promise.race([agent.connected(CONNECT_DEADLINE_MS), stop.first]);
    announce(
      config,
      { url: scheduler.url, metricsUrl: agent.metricsUrl, pid: context.pid, stateDir: config.stateDir },
      true,
    );
    const client = createClient({
      url: scheduler.url,
      token: readToken(scheduler.tokenFile),
      tokenFile: scheduler.tokenFile,
      dialer: await dialerFor(config, { url: scheduler.url, stateDir: config.stateDir, pin: null }),
      signer: localSigner(config.stateDir),
    });
    await writeLines(
      context.stdout,
      describeStart(context, config, scheduler, agent, context.clock.monotonicMs() - startedMs),
    );
    await sayLimitations(context, client, agent.nodeId);
    if ((command.opts() as { example?: boolean }).example === true) {
      await Promise.race([runExample(context, client), stop.first]);
    }
    await untilStop(stop);
    say(context.stderr, await describeFarewell(client));
    const clean = await stopInOrder(parts, stop, log);
    if (!clean)
      say(context.stderr, 'stopped before everything was closed; nothing is lost: the next start settles it');
    return clean ? exitCode.ok : exitCode.failed;
  } catch (error) {
    await stopInOrder(parts, stop, log);
    throw explainListen(error, config);
  } finally {
    withdraw(config, context.pid);
  }
}

function startScheduler(context: Context, config: Config, log: Log): Promise<RunningScheduler> {
  return context.daemons.startScheduler({
    stateDir: config.stateDir,
    listen: config.listen,
    tls: config.tls,
    clock: context.clock,
    log: log.child({ part: 'scheduler' }),
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
}

function startAgent(
  context: Context,
  config: Config,
  log: Log,
  scheduler: RunningScheduler,
): Promise<RunningAgent> {
  return context.daemons.startAgent({
    root: context.root,
    stateDir: config.stateDir,
    metricsListen: config.metricsListen,
    scheduler: scheduler.url,
    joinToken: readToken(scheduler.joinTokenFile),
    caFile: ownAuthority(config, scheduler),
    config,
    clock: context.clock,
    log: log.child({ part: 'agent' }),
    version: context.version,
  });
}

/** The private authority of the scheduler in this process, where it has one. */
function ownAuthority(config: Config, { url }: RunningScheduler): string | null {
  const file = localAuthorityFile(config.stateDir);
  return url.startsWith('https:') && existsSync(file) ? file : null;
}

function describeStart(
  context: Context,
  config: Config,
  scheduler: RunningScheduler,
  agent: RunningAgent,
  tookMs: number,
): string[] {
  const terminal = context.stdout.isTTY === true;
  // The token belongs on the user's own screen, never into a log that standard output may be.
  const dashboard = terminal
    ? `${scheduler.url}/#token=${readFileSync(scheduler.tokenFile, 'utf8').trim()}`
    : `${scheduler.url}/`;
  const flags = [
    ...(config.sources.stateDir.kind === 'flag' ? [`--state-dir ${shellQuote(config.stateDir)}`] : []),
    ...(config.sources.stateDir.kind === 'file' ? [`--config ${shellQuote(config.file ?? '')}`] : []),
  ];
  const call = [howToCall(context), 'run', ...flags].join(' ');
  return [
    `flopd ${context.version}: ready after ${(tookMs / 1000).toFixed(2)} s`,
    `dashboard: ${dashboard}`,
    ...(terminal ? [] : [`token:     ${scheduler.tokenFile}`]),
    `submit:    ${call} -- sh -c 'echo hello'`,
    `metrics:   ${agent.metricsUrl}/metrics`,
    ...(scheduler.urlElsewhere === null
      ? []
      : [
          `join:      flopd join ${scheduler.urlElsewhere} on other hosts, with a token of "flopd scheduler token create"`,
        ]),
    `state:     ${config.stateDir}`,
  ].map(escapeText);
}

/** What this host lacks, as the agent told the scheduler. */
async function sayLimitations(context: Context, client: Client, nodeId: string): Promise<void> {
  const node = await client.node(nodeId);
  const sentences = [...(node.inventory?.limitations ?? [])];
  if (node.devices.length === 0 && !sentences.some((sentence) => /accelerator/i.test(sentence))) {
    sentences.push('no accelerators: the CPU is the only device of this host');
  }
  const made = node.devices.filter(({ simulated }) => simulated).length;
  if (made > 0) sentences.push(`${made} accelerators are simulated (--simulate): none of them exists`);
  const noPower = whyNoPower(findPowerSources(SYS_ROOT));
  if (noPower !== null && !sentences.some((sentence) => /power/i.test(sentence)))
    sentences.push(`no power source: ${noPower}`);
  await writeLines(
    context.stdout,
    sentences.map((sentence) => `note:      ${escapeText(sentence)}`),
  );
}

async function describeFarewell(client: Client): Promise<string> {
  const asked = client.jobs({ state: 'RUNNING', limit: 1000 }).then(({ jobs }) => jobs.length);
  const running = await Promise.race([asked.catch(() => null), pause(FAREWELL_DEADLINE_MS).then(() => null)]);
  if (running === null) return 'stopping; running jobs go on';
  if (running === 0) return 'stopping; no job is running';
  return `stopping; ${running === 1 ? 'one running job goes' : `${running} running jobs go`} on, and the next "flopd up" takes ${running === 1 ? 'it' : 'them'} up again`;
}
