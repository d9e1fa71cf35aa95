// `flopd devices`: what this host's accelerators, and its CPU, say right now. Needs no scheduler; with --node it asks
// one for the devices of another host.
import { arch, availableParallelism, cpus, hostname, release, totalmem } from 'node:os';
import type { Command } from 'commander';
import { readLimits } from '../device/limits.ts';
import { parseSimulated } from '../device/simulated.ts';
import type { NodeView } from '../protocol/api.ts';
import type { DevicesDocument } from '../protocol/devices-document.ts';
import { createClient } from './client.ts';
import type { Context } from './context.ts';
import { renderDevices } from './device-table.ts';
import { findAccess } from './endpoint.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, readConfig } from './flags.ts';
import { PROC_ROOT, SYS_ROOT } from './host-root.ts';
import { type LocalHost, openLocalHost } from './local-host.ts';
import { say } from './message.ts';
import { heldByOf, hostFields } from './node-table.ts';
import { addOutputFlag, addWatchFlag, type OutputFormat, printRepeatedly, watchPeriodMs } from './output.ts';
import { renderFields } from './table.ts';
import { formatBytes } from './text.ts';
import { vendorTools } from './vendor-tool.ts';

const WINDOW_MS = 300;

type HostInventory = DevicesDocument['host']['inventory'];

interface Options {
  readonly output: OutputFormat;
  readonly node?: string;
  readonly watch?: unknown;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.option('--node <NODE>', 'ask the scheduler for the devices of this node instead');
  addWatchFlag(
    addOutputFlag(
      addConfigFlags(command, [
        'stateDir',
        'scheduler',
        'tokenFile',
        'devices.backend',
        'simulate',
        'node.peakFlops',
      ]),
    ),
  ).addHelpText(
    'after',
    `
MEM, POWER: in use / there is. TFLOPS: achieved / peak, dense, in the first of BF16, FP16, FP32 that is known. What does
not fit the terminal is left out; -o wide shows all. JSON: {"host": {…}, "backends": {"nvidia": "native", …}, "devices":
[…]}, as "flopd schema devices" says; with --node {"node": …, "devices": […]}. A number that could not be read is null
and its reason stands in "absent".
Exit code: 1 when a vendor is here and cannot be read at all; standard error says why.`,
  );
  command.action(async () => {
    const options = command.opts() as Options;
    const periodMs = watchPeriodMs(options.watch);
    const code =
      options.node === undefined
        ? await showLocal(command, context, options, periodMs)
        : await showNode(command, context, options, options.node, periodMs);
    finish(code);
  });
}

async function showLocal(
  command: Command,
  context: Context,
  { output }: Options,
  periodMs: number | null,
): Promise<number> {
  const { stateDir, simulate, devices, node } = await readConfig(command, context);
  if (simulate !== null) parseSimulated(simulate);
  const host = openLocalHost(context, {
    stateDir,
    windowMs: WINDOW_MS,
    backend: devices.backend,
    simulate,
    peakFlops: node.peakFlops,
  });
  const told = new Set<string>();
  try {
    if (host.problem !== null) say(context.stderr, host.problem);
    const inventory = readInventory();
    await printRepeatedly(
      context,
      output,
      periodMs,
      () => readDocument(host, inventory, context, told),
      ({ devices, host: { inventory, ...figures } }, style) => [
        ...(devices.length === 0
          ? [told.size === 0 ? nothingFound() : 'no accelerator of this host could be read']
          : renderDevices(devices, style, { heldBy: null, nowMs: context.clock.wallMs() })),
        '',
        ...renderFields([...inventoryFields(inventory), ...hostFields(figures)]),
      ],
    );
  } finally {
    host.close();
  }
  return told.size === 0 ? exitCode.ok : exitCode.failed;
}

/** What is here and cannot be read is said once, and remembered in `told`. */
async function readDocument(
  host: LocalHost,
  inventory: HostInventory,
  context: Context,
  told: Set<string>,
): Promise<DevicesDocument> {
  const figures = await host.next();
  const { views, problems, backends } = await host.readDevices();
  for (const problem of problems) {
    if (!told.has(problem)) say(context.stderr, problem);
    told.add(problem);
  }
  return { host: { ...figures, inventory }, backends, devices: [...views] } as DevicesDocument;
}

async function showNode(
  command: Command,
  context: Context,
  { output }: Options,
  name: string,
  periodMs: number | null,
): Promise<number> {
  const client = createClient(await findAccess(await readConfig(command, context), context.environment));
  await printRepeatedly(
    context,
    output,
    periodMs,
    async () => {
      const { name: node, devices } = await client.node(name);
      return { node, devices };
    },
    ({ node, devices }: Pick<NodeView, 'devices'> & { node: string }, style) =>
      devices.length === 0
        ? [`${node} has no accelerators`]
        : renderDevices(devices, style, { heldBy: heldByOf(devices), nowMs: context.clock.wallMs() }),
  );
  return exitCode.ok;
}

/** What was looked for, and what to do. */
function nothingFound(): string {
  const tools = vendorTools().join(', ');
  return `no accelerators on this host: neither a vendor's library nor one of its tools (${tools}) was found; install the driver, or put its tool on PATH; "flopd devices --simulate 8xH100" shows what it would look like`;
}

function readInventory(): HostInventory {
  const limits = readLimits(PROC_ROOT, SYS_ROOT);
  const least = (...values: (number | null)[]): number =>
    Math.min(...values.filter((value) => value !== null));
  const processors = cpus();
  return {
    hostname: hostname(),
    kernel: release(),
    architecture: arch(),
    cpuModel: processors[0]?.model.trim() || null,
    cpuThreads: processors.length || availableParallelism(),
    memoryBytes: totalmem(),
    usableCpus: least(availableParallelism(), limits.affinityCpus, limits.cgroupCpus),
    usableMemoryBytes: least(totalmem(), limits.cgroupMemoryBytes),
  };
}

function inventoryFields(inventory: HostInventory): (readonly [string, string])[] {
  return [
    ['host', inventory.hostname],
    ['system', `Linux ${inventory.kernel}, ${inventory.architecture}`],
    [
      'CPU',
      `${inventory.cpuModel ?? 'unknown model'}, ${inventory.cpuThreads} threads, ${inventory.usableCpus} usable`,
    ],
    ['memory', `${formatBytes(inventory.memoryBytes)}, ${formatBytes(inventory.usableMemoryBytes)} usable`],
  ];
}
