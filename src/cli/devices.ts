// `flopd devices`: what this host's accelerators, and its CPU, say right now. Needs no scheduler.
import { arch, availableParallelism, cpus, hostname, release, totalmem } from 'node:os';
import { type Command, Option } from 'commander';
import { readLimits } from '../device/limits.ts';
import type { HostView } from '../protocol/api.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, readConfig } from './flags.ts';
import { PROC_ROOT, SYS_ROOT } from './host-root.ts';
import { openLocalHost } from './local-host.ts';
import { say } from './message.ts';
import { hostFields } from './node-table.ts';
import { addOutputFlag, addWatchFlag, type OutputFormat, printRepeatedly, watchPeriodMs } from './output.ts';
import { renderFields } from './table.ts';
import { formatBytes } from './text.ts';
import { findVendorTools, vendorTools } from './vendor-tool.ts';

const WINDOW_MS = 300;

interface DevicesView {
  readonly host: HostView & { readonly inventory: HostInventory };
  /** How each vendor's devices are read: `native`, `cli`, or null where they are not. */
  readonly backends: Readonly<Record<string, 'native' | 'cli' | null>>;
  readonly devices: readonly unknown[];
}

/** Static facts that cost nothing to read. */
interface HostInventory {
  readonly hostname: string;
  readonly kernel: string;
  readonly architecture: string;
  readonly cpuModel: string | null;
  readonly cpuThreads: number;
  readonly memoryBytes: number;
  /** What this process may use: the least of the machine, its affinity and its cgroups. */
  readonly usableCpus: number;
  readonly usableMemoryBytes: number;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.addOption(
    new Option('--backend <BACKEND>', 'how accelerators are read')
      .choices(['auto', 'native', 'cli'])
      .default('auto'),
  );
  addWatchFlag(addOutputFlag(addConfigFlags(command, ['stateDir']))).addHelpText(
    'after',
    `
JSON: {"host": {…, "inventory": {…}, "absent": {…}}, "backends": {"nvidia": null, …}, "devices": []}. A number that
could not be read is null and its reason stands in "absent". This build reads the host; no accelerators yet.`,
  );
  command.action(async () => {
    const options = command.opts() as { output: OutputFormat; watch?: unknown };
    const periodMs = watchPeriodMs(options.watch);
    const config = await readConfig(command, context);
    const host = openLocalHost(context, config.stateDir, WINDOW_MS);
    try {
      if (host.problem !== null) say(context.stderr, host.problem);
      const sentence = describeAccelerators(context);
      const inventory = readInventory();
      await printRepeatedly(
        context,
        options.output,
        periodMs,
        async () => viewOf(await host.next(), inventory),
        (view) => [
          sentence,
          '',
          ...renderFields([...inventoryFields(view.host.inventory), ...hostFields(view.host)]),
        ],
      );
    } finally {
      host.close();
    }
    finish(exitCode.ok);
  });
}

function viewOf(host: HostView, inventory: HostInventory): DevicesView {
  const backends = Object.fromEntries(Object.keys(vendorTools).map((vendor) => [vendor, null]));
  return { host: { ...host, inventory }, backends, devices: [] };
}

/** One sentence, true also where a vendor's tool shows that there is something this build cannot read. */
function describeAccelerators({ environment }: Context): string {
  const tools = [...findVendorTools(environment).values()];
  if (tools.length === 0)
    return 'no accelerators on this host: no vendor tool was found on PATH; its CPU is the only device';
  return `no accelerators listed: ${tools.join(', ')} ${tools.length === 1 ? 'is' : 'are'} here, but this build does not read accelerators yet`;
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
